# What programs of a distribution do about users and owners. What they say is part of the result.
exec > /said 2>&1
useradd --create-home --shell /bin/sh alice
adduser --quiet --disabled-password --gecos '' bob
install -o alice -g bob -m 2750 /etc/passwd /srv/installed
install -d -o 7 -g 8 -m 1770 /srv/directory
su alice -c 'id; cd; touch f; mkdir -p a/b; ln -s x y; whoami'
su - bob -c 'umask; tar --mtime=@1 -C /etc -cf e.tar apt; tar -xf e.tar; stat -c "%n %u %g %a" * */*'
chown -R bob: /home/alice/a
passwd -S bob
setpriv --reuid=1000 --regid=1000 --clear-groups id
runuser -u alice -- id
find / -xdev -nouser -o -xdev -nogroup

# Other roots.
mkdir -p /c/bin /c/etc /c/usr/lib
cp /etc/passwd /etc/group /c/etc
cp /bin/chown /bin/ls /bin/touch /bin/sh /c/bin
cp -a /lib /lib64 /c/
cp -a /usr/lib/*-linux-gnu* /c/usr/lib/
cp -a /usr/lib64 /c/usr/ || true
chroot / sh -c 'cd /; touch /of-root; chown 9:9 /of-root; su nobody -s /bin/sh -c id'
chroot /c /bin/sh -c '/bin/touch /a /etc/b; /bin/chown 12:13 /a etc/b'
chroot --userspec=1000:1000 /c /bin/touch /mine || echo refused
chmod 777 /c
chroot --userspec=1000:1000 /c /bin/sh -c '/bin/touch /mine; cd ..; cd ../..; /bin/touch mine2; /bin/ls -d .'
stat -c '%n %u %g' /c/*
rm -rf /c/usr /c/lib /c/lib64 /c/bin

# Programs that become their owner.
cp /usr/bin/id /opt/id
chown 44:45 /opt/id
chmod 6755 /opt/id
/opt/id
su nobody -s /bin/sh -c '/opt/id; /opt/id -r -u'
printf '#!/bin/sh\nid\n' > /opt/script
chown 5:5 /opt/script
chmod 6755 /opt/script
su nobody -s /bin/sh -c /opt/script
cp /usr/bin/python3 /opt/python
chown 44 /opt/python
chmod 4755 /opt/python
su nobody -s /bin/sh -c '/opt/python -c "
import os
print(os.getresuid())
open(\"/tmp/by44\", \"w\")
os.seteuid(os.getuid())
print(os.getresuid())
os.seteuid(44)
print(os.getresuid())"'
rm /opt/python

# Capabilities.
setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -chown,-setuid setpriv --dump
setpriv --bounding-set -chown setpriv --dump
setpriv --inh-caps +chown --ambient-caps +chown --reuid 1000 --regid 1000 --clear-groups sh -c 'touch /tmp/c; chown 0:0 /tmp/c; stat -c %u /tmp/c; id -u'
perl -e '$)="7 8 9"; $>=7; print "$( $) $< $>\n"; open F,">/tmp/perl"; print join(" ", (stat "/tmp/perl")[4,5]), "\n"; $>=0; print "$>\n";'

python3 -u /steps/users.py

cp -a /etc /tmp/etc
chown -R 1:2 /tmp/etc
find /tmp/etc -not -user 1 -o -not -group 2
su nobody -s /bin/bash -c '
    mkdir /tmp/w && cd /tmp/w || exit
    for i in 1 2 3; do echo $i > f$i; ln -s f$i l$i; done
    tar --mtime=@1 -cf a.tar f* l*
    mkdir o
    tar xf a.tar -C o
    cp -a o p
    mv p q
    rm -rf o
    python3 -m venv v --without-pip
    stat -c "%n %u %g %a" * */*
'
# What has the time in it.
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- /tmp/sock
sed -i 's/^\(alice\|bob\):\([^:]*\):[0-9]*/\1:\2:1/' /etc/shadow
