# Counts the letters of `--text=…` into a file.
text="${2#--text=}"
printf '%s: %*d\n' "$LABEL" "$WIDTH" "$(printf %s "$text" | tr -d ' ' | wc -c)" > "$1"
