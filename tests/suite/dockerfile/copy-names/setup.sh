printf %s '1' > 'with space'
printf %s '3' > '$dollar'
printf %s '4' > '#hash'
printf %s '5' > 'café'
printf %s '6' > 'back\slash'
printf %s '7' > 'quote'\''"'
name=$(printf '%0255d' 0)
echo long > "$name"
mkdir -p "$(printf 'd%0150d' 0)/$(printf 'e%0150d' 0)"
echo deep > "$(printf 'd%0150d' 0)/$(printf 'e%0150d' 0)/$(printf 'f%0150d' 0)"
echo ' leading' > ' leading'
