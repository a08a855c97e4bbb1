"""Signed tokens that another library has made, the guide's chapter on them, and a key that is rotated under 5,000
clients."""

import base64
import hashlib
import hmac
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from support import LIMIT, ROOT, STANDPIPE, Server, request, status, upgrade_head, wait_until

try:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
except ImportError:
    jwt = None

CLIENTS = 5000
# Descriptors of this process that are not those of its clients.
SPARE = 100
# The time in which all clients must be connected, and have their echoes.
CROWD_LIMIT = 180


def encode(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def hmac_token(secret, header=None, **claims):
    """Returns a token signed with HS256, without a library that could refuse to make it."""
    claims = {"exp": int(time.time()) + 600, **claims}
    head = {"alg": "HS256", **(header or {})}
    message = b".".join(encode(json.dumps(part).encode()) for part in (head, claims))
    return (message + b"." + encode(hmac.new(secret, message, hashlib.sha256).digest())).decode()


def handshake(port, token, path="/echo"):
    """Returns the status of an opening handshake."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
        stream.sendall(upgrade_head(port, path, {"Authorization": f"Bearer {token}"}))
        return status(stream.recv(4096))


def public_pem(private):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form)


@unittest.skipIf(jwt is None, "PyJWT and cryptography are not installed: pip install -r tests/deploy/requirements.txt")
class AnotherLibrary(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def file(self, name, content):
        path = self.directory / name
        path.write_bytes(content)
        return path

    def claims(self, **more):
        return {"sub": "ann", "exp": int(time.time()) + 600, **more}

    def test_tokens_of_another_library(self):
        secret = b"a secret with any bytes \x00\xff\n and as many as SHA-512 needs: 64 of them"
        keys = {
            "RS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        flags = ["--jwt-hmac-file", self.file("secret", secret + b"\n")]
        for name, key in keys.items():
            flags += ["--jwt-public-key-file", self.file(f"{name}.pem", public_pem(key))]
        with Server(*flags) as server:
            for name in ("HS256", "HS384", "HS512"):
                self.assertEqual(handshake(server.port, jwt.encode(self.claims(), secret, name)), 101, name)
            for name, key in keys.items():
                self.assertEqual(handshake(server.port, jwt.encode(self.claims(), key, name)), 101, name)
            for name, key in (("RS512", keys["RS256"]), ("PS256", keys["RS256"]), ("ES384", ec.generate_private_key(ec.SECP384R1()))):
                self.assertEqual(handshake(server.port, jwt.encode(self.claims(), key, name)), 401, name)
            self.assertEqual(handshake(server.port, jwt.encode(self.claims(), None, "none")), 401)
            for key in keys.values():
                # PyJWT refuses to take a public key as a secret.
                self.assertEqual(handshake(server.port, hmac_token(public_pem(key))), 401)
            expired = jwt.encode({"exp": int(time.time()) - 60}, secret, "HS256")
            self.assertEqual(handshake(server.port, expired), 401)
            self.assertEqual(handshake(server.port, jwt.encode({"sub": "ann"}, secret, "HS256")), 401)

    def test_jwk_set_of_another_library(self):
        private = rsa.generate_private_key(65537, 2048)
        point = ec.generate_private_key(ec.SECP256R1())
        edwards = ed25519.Ed25519PrivateKey.generate()
        algorithms = jwt.algorithms
        jwks = [
            {**json.loads(algorithms.RSAAlgorithm.to_jwk(private.public_key())), "kid": "rsa"},
            {**json.loads(algorithms.ECAlgorithm.to_jwk(point.public_key())), "kid": "ec"},
            {**json.loads(algorithms.OKPAlgorithm.to_jwk(edwards.public_key())), "kid": "ed"},
            {"kty": "new kind", "kid": "ignored"},
        ]
        path = self.file("keys.json", json.dumps({"keys": jwks}).encode())
        with Server("--jwks-file", path) as server:
            signers = (("rsa", "RS256", private), ("ec", "ES256", point), ("ed", "EdDSA", edwards))
            for kid, name, key in signers:
                token = jwt.encode(self.claims(), key, name, headers={"kid": kid})
                self.assertEqual(handshake(server.port, token), 101, name)
                token = jwt.encode(self.claims(), key, name, headers={"kid": "ignored"})
                self.assertEqual(handshake(server.port, token), 401, name)

    def test_made_token_is_read_by_another_library(self):
        secret = self.file("secret", b"a secret of more than thirty-two bytes\n")
        command = [STANDPIPE, "token", "--hmac-file", secret, "--sub", "ann", "--subscribe", "a*", "--expires", "1h"]
        made = subprocess.run(command, capture_output=True, check=True, timeout=LIMIT).stdout.decode().strip()
        claims = jwt.decode(made, b"a secret of more than thirty-two bytes", algorithms=["HS256"])
        self.assertEqual((claims["sub"], claims["topics"]), ("ann", {"subscribe": ["a*"], "publish": []}))
        self.assertAlmostEqual(claims["exp"], time.time() + 3600, delta=10)

    def test_guide_connects_from_python(self):
        guide = (ROOT / "src/GUIDE.md").read_text()
        program = re.search(r"```python\n(# pip install PyJWT.*?)```", guide, re.S)[1]
        key = self.file("hmac.key", base64.b64encode(bytes(range(32))) + b"\n")
        with Server("--jwt-hmac-file", key) as server:
            program = program.replace("127.0.0.1:9000", f"127.0.0.1:{server.port}")
            run = subprocess.run(
                [sys.executable, "-c", program], cwd=self.directory, capture_output=True, check=False, timeout=LIMIT
            )
            self.assertEqual(run.returncode, 0, run.stderr.decode())
            lines = sorted(run.stdout.decode().splitlines())
            self.assertEqual(len(lines), 3, lines)
            self.assertTrue(any('"data":"hello"' in line for line in lines), lines)


class Crowd:
    """Clients of /echo that stay connected. The end of the `with` block closes them."""

    def __init__(self, port, token, end):
        self.port, self.token, self.end, self.streams = port, token, end, []

    def connect(self, count):
        head = upgrade_head(self.port, headers={"Authorization": f"Bearer {self.token}"})
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", self.port), LIMIT)
            self.streams.append(stream)
            stream.sendall(head)
            answer = stream.recv(4096)
            if status(answer) != 101:
                raise AssertionError(answer)
            if time.monotonic() > self.end:
                raise TimeoutError(f"only {len(self.streams)} clients after {CROWD_LIMIT} s")

    def echoing(self):
        """Returns how many clients get an echo."""
        # A masked text frame with the mask 0 (RFC 6455, section 5.2), and the frame that comes back.
        for stream in self.streams:
            stream.sendall(b"\x81\x82\0\0\0\0hi")
        return sum(stream.recv(64) == b"\x81\x02hi" for stream in self.streams)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in self.streams:
            stream.close()


class Rotation(unittest.TestCase):
    def test_rotation_cuts_none_of_5000_clients(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < CLIENTS + SPARE:
            self.skipTest(f"this process may have only {hard} descriptors, and {CLIENTS + SPARE} are needed")
        soft = hard if hard != resource.RLIM_INFINITY else CLIENTS + SPARE
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        old, new = b"the old secret of more than 32 bytes..", b"the new secret of more than 32 bytes.."
        with tempfile.NamedTemporaryFile() as file:

            def write(*secrets):
                keys = [{"kty": "oct", "k": encode(secret).decode()} for secret in secrets]
                Path(file.name).write_text(json.dumps({"keys": keys}))

            write(old)
            # A ping would come before an echo, because connecting may take longer than the default interval.
            with Server("--jwks-file", file.name, "--ping-interval", "10m") as server:
                wait_until("the limit was logged", lambda: "connection limit: " in server.log())
                limit = int(re.search(r"connection limit: (\d+)", server.log())[1])
                if limit < CLIENTS + 2:
                    self.skipTest(f"the limits of this machine allow {limit} clients, and {CLIENTS + 2} are needed")
                with Crowd(server.port, hmac_token(old), time.monotonic() + CROWD_LIMIT) as crowd:
                    crowd.connect(CLIENTS)
                    self.assertEqual(crowd.echoing(), CLIENTS)
                    for secrets, accepted in (((old, new), (101, 101)), ((new,), (401, 101))):
                        before = server.log().count("SIGHUP: reloaded")
                        write(*secrets)
                        server.signal(signal.SIGHUP)
                        wait_until("the keys were read again", lambda: server.log().count("SIGHUP: reloaded") > before)
                        statuses = tuple(handshake(server.port, hmac_token(secret)) for secret in (old, new))
                        self.assertEqual(statuses, accepted)
                        self.assertEqual(crowd.echoing(), CLIENTS)
                        self.assertLess(time.monotonic(), crowd.end, f"more than {CROWD_LIMIT} s")
                    self.assertEqual(request(server.port, "GET", "/healthz")[0], 200)
                self.assertEqual(server.stop(60), 0)


if __name__ == "__main__":
    unittest.main()
