# Devices: made, seen, copied, packed, renamed, linked, given away.
set -e
mkdir /n
cd /n
mknod null c 1 3
mknod -m 640 disk b 8 1
chown 5:6 disk
mkfifo p
chmod 666 null
mknod big c 511 1048575
stat -c '%n %F %t %T %u %g %a' *
cp -a null null2
ln disk hard
mv big moved
test -c moved
test -b hard
tar -cf /t.tar .
mkdir /x
tar -xpf /t.tar -C /x
rm /t.tar
if cat null || echo x > null; then exit 1; fi
rm disk
touch disk
if mknod whiteout c 0 0; then exit 1; fi
if su nobody -s /bin/sh -c 'mknod /tmp/device c 1 3'; then exit 1; fi
chown 7:8 hard
