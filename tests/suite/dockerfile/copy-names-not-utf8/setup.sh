printf 'latin\n' > "$(printf 'caf\351')"
mkdir "$(printf '\377')"
echo below > "$(printf '\377')/file"
