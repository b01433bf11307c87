"""A program that uses the embedded servers: says what it got as one line of JSON, and ends when told to."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import embedded

home, *wanted = sys.argv[1:]
try:
    with embedded.servers(Path(home), kafka="kafka" in wanted, postgres="postgres" in wanted) as servers:
        sys.stdout.write(json.dumps(asdict(servers)) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
except embedded.EmbeddedUnavailable as error:
    sys.exit(str(error))
