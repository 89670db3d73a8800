#!/bin/sh
# Archive a directory, check the archive, and tell how large it became. Usage: backup.sh DIRECTORY ARCHIVE
set -eu
tar -czf "$2.part" -C "$1" .
gzip -t "$2.part"
mv "$2.part" "$2"
# One number of our own beside what `pymetrics run` pushes. A failed push must not fail the backup.
printf '# HELP backup_size_bytes Size of the last archive.\n# TYPE backup_size_bytes gauge\nbackup_size_bytes %s\n' \
    "$(wc -c < "$2")" | pymetrics push --job backup --label directory="$1" || true
