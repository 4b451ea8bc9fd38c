#!/usr/bin/env bash
# Builds ferretdb in this folder.
#
# FerretDB 1.24 indexes `_id` as one expression of SQLite and looks documents up by another, so each
# lookup, and so each update of ours, would read the whole collection. Here it looks them up as it
# indexes them.
set -euo pipefail
cd "$(dirname "$0")"
go mod vendor
source=vendor/github.com/FerretDB/FerretDB/internal/backends/sqlite/metadata/metadata.go
sed -i "s/->'\$\._id'/->'_id'/" "$source"
grep -q "DefaultColumn + \"->'_id'\"" "$source"
CGO_ENABLED=0 go build -mod=vendor -o ferretdb .
rm -r vendor
