"""Signs what is shipped: sign_release.py DIRECTORY KEY OUT

Writes the digest of each file below DIRECTORY and an HMAC over all of them under the key in the file KEY. The key itself is not written.
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path


def sign(directory: Path, key: bytes) -> dict:
    if not key:
        sys.exit("sign_release: the key is empty")
    files = {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*.py"))
    }
    signed = json.dumps(files, sort_keys=True, separators=(",", ":")).encode()
    return {"files": files, "signature": hmac.new(key, signed, hashlib.sha256).hexdigest()}


if __name__ == "__main__":
    directory, key, out = map(Path, sys.argv[1:])
    out.write_text(json.dumps(sign(directory, key.read_bytes().strip()), indent=2, sort_keys=True) + "\n")
