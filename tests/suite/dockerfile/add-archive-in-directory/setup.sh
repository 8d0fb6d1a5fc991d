mkdir -p dir x
echo x > x/file
tar --mtime=@1000000000 --owner=0 --group=0 --numeric-owner --sort=name --format=ustar -cf dir/some.tar x
rm -r x
