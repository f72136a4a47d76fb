#!/bin/bash
# A folder below src/ includes only the faces of folders above it in this list, and its own headers. The program may include any face.
set -u
cd "$LOAM_SOURCE/src" || exit 1
layers="base net tensor compute tokenizer model data cluster train infer room serve hub look cli"
bad=0
allowed=" "
for layer in $layers; do
    [ "$layer" = cli ] && allowed=" $layers "
    while IFS=: read -r file line text; do
        [ -n "$file" ] || continue
        header=$(sed -E 's/.*#include "([^"]*)".*/\1/' <<<"$text")
        [ -e "$(dirname "$file")/$header" ] && ! [[ $header == ../*/* && $header != ../../include/* ]] && continue
        folder=${header%%/*}
        name=$(basename "$header" .h)
        if [ "$folder" = "$layer" ] && [ -e "$header" ]; then continue; fi
        if [ "$header" = loam.h ] || [ "$header" = ../../include/loam.h ]; then continue; fi
        if [[ $allowed != *" $folder "* ]] || [ "$name" != "$folder" ] || [ "$header" != "$folder/$folder.h" ]; then
            echo "src/$file:$line: includes \"$header\": $layer/ may include only the faces of:$allowed" >&2
            bad=1
        fi
    done < <(grep -rnE '^#include "' "$layer" 2>/dev/null)
    allowed="$allowed$layer "
done
for file in $(find . -name '*.c' -o -name '*.h' | sed 's|^\./||'); do
    [[ " $layers " == *" ${file%%/*} "* ]] || { echo "src/$file: in no known layer" >&2; bad=1; }
done
exit $bad
