chmod 600 private
chmod 751 program
chmod 4755 setuid
chmod 2750 setgid
chmod 700 dir
chmod 640 dir/file
chmod 1777 sticky
chown 1234:1234 private dir 2>/dev/null || true
