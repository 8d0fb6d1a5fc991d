echo 'spaced' > 'with space'
