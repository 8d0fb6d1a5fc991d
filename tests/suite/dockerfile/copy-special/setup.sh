mkfifo fifo
chmod 640 fifo
