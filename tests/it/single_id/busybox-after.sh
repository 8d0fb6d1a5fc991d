# Second half: what a step finds that the one before it made, and what becomes of it.
set -e
cd /d
busybox stat -c '%n %u %g %a %F' * sg/*
busybox su app -c '
    id
    touch /tmp/mine
    mkdir /tmp/directory
    ln -s q /tmp/link
    busybox mkfifo /tmp/pipe
    touch /etc/no || echo refused
    (echo x > /etc/passwd) || echo refused
    cat /d/a
    cat /d/moved
    touch /d/sg/no || echo refused
    umask 077
    touch /tmp/private
    cp /etc/passwd /tmp/copy
    chmod 2755 /tmp/copy
    busybox chown root /tmp/copy || echo refused
    rm /d/a || echo refused
    touch /d/sticky/own
    ln /tmp/mine /tmp/hard
    busybox kill -0 $$ && echo alive
'
busybox mv link renamed
busybox mv pipe piped
busybox mv sg/link sg/renamed
busybox cp -a sg /copied
busybox tar -C /d -cf /t.tar .
busybox mkdir /extracted
busybox tar -C /extracted -xpf /t.tar
busybox rm /t.tar
busybox chown -R 1000:1000 /home
busybox chown 3:3 suid
busybox stat -c '%a' suid
busybox chown 1000:1000 piped
busybox rm renamed
busybox ln -s z renamed
busybox find / -xdev -user 1000 | busybox sort
