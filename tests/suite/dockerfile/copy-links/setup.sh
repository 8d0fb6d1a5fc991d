ln -s a.txt to-file
ln -s dir to-dir
ln -s nowhere dangling
ln -s to-file chain
mkdir -p deep
ln -s ../b.txt deep/up
ln -s /etc/base-image absolute
