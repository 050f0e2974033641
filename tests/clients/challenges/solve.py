"""Solves the challenge on standard input with ALTCHA's library; prints the payload."""

import json
import sys

from altcha import Challenge, Payload, solve_challenge

challenge = Challenge.from_dict(json.load(sys.stdin))
print(Payload(challenge, solve_challenge(challenge)).to_base64())
