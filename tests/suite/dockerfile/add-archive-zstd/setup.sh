mkdir -p packed/sub
echo one > packed/one
echo two > packed/sub/two
ln packed/one packed/again
ln -s one packed/link
mkfifo packed/fifo
chmod 4750 packed/one
chmod 2710 packed/sub
tar --sort=name --mtime=@1000000000 --owner=1000 --group=1001 --numeric-owner -cf plain.tar packed
gzip -nk < plain.tar > gzipped.tar.gz
bzip2 -k < plain.tar > bzipped.any
xz -k < plain.tar > xzipped.tar.xz
rm -r packed
zstd -q plain.tar -o zstd.tar.zst
