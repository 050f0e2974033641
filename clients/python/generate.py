"""Generates the package `holdfast_client` from a server's OpenAPI document.

Run as: generate.py [FILE_OR_URL] [FOLDER], by default from a server on its default address into
this folder. Needs openapi-python-client and ruff, the extra `generate` of this project.
"""

import os
import subprocess
import sys
from pathlib import Path

source = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/openapi.json"
folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
tools = Path(sys.executable).parent
is_url = source.startswith(("http://", "https://"))
command = [tools / "openapi-python-client", "generate", "--meta", "none", "--overwrite"]
command += ["--url" if is_url else "--path", source]
command += ["--output-path", folder / "holdfast_client", "--fail-on-warning"]
# The generator formats its output with the `ruff` on the path.
path = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
sys.exit(subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode)
