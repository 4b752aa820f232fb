#!/bin/sh
# Make docker/.env from docker/.env.example with new keys; an existing one stays as it is.
set -eu
cd "$(dirname "$0")"
if [ -e .env ]; then
    echo "docker/.env is there already: its keys are kept" >&2
    exit 0
fi

key() { # 32 random bytes in base64 that may stand in a URL: also what Fernet wants
    head -c 32 /dev/urandom | base64 | tr '+/' '-_'
}

umask 077
while IFS= read -r line; do
    case "$line" in
        AIRFLOW_UID=) echo "$line$(id -u)" ;;
        *_PASSWORD=) echo "$line$(key | tr -d '=')" ;;
        [A-Z]*=) echo "$line$(key)" ;;
        *) echo "$line" ;;
    esac
done <.env.example >.env.new
mv .env.new .env
echo "docker/.env is made" >&2
