# Owners, groups, special bits, links, pipes and directories that give their group on, on a root of busybox. First half: made here.
set -e
busybox mkdir /d
cd /d
busybox touch a b c
busybox chown 1000:1000 a
busybox chown :2000 b
busybox chgrp 2000 c
busybox chown 1000 c
busybox cp /bin/busybox suid
busybox chown 33:34 suid
busybox chmod 6755 suid
busybox mkdir sg
busybox chgrp 2000 sg
busybox chmod 2775 sg
busybox touch sg/f
busybox mkdir sg/sub
busybox touch sg/sub/deep
busybox ln -s x sg/link
busybox mkfifo sg/pipe
busybox install -o 1000 -g 2000 -m 4711 /etc/passwd inst 2>/dev/null || {
    busybox cp /etc/passwd inst
    busybox chown 1000:2000 inst
    busybox chmod 4711 inst
}
busybox ln -s a link
busybox chown -h 5:6 link
busybox mkfifo pipe
busybox chown 9:9 pipe
busybox ln a hard
busybox mv b moved
busybox rm c
busybox touch c
busybox chown 60000:60001 moved
busybox mkdir -m 1777 sticky
busybox stat -c '%n %u %g %a %F' * sg/*
busybox id
