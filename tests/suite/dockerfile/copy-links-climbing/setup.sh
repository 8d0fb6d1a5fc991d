ln -s ../../../../../etc climbing
ln -s / rooted
