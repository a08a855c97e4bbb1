"""`GET /metrics` in both formats: promtool accepts the classic one, and a client that names OpenMetrics gets that. The
dashboard and the alert rules of packaging/ are queries that Prometheus accepts.

Each request has a key of `--publish-key-file`, as Prometheus sends it from its `credentials_file`.
"""

import contextlib
import json
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from support import KEYS, LIMIT, ROOT, TLS_FLAGS, Program, Server, free_port, request, wait_until


def body(answer):
    return answer.partition(b"\r\n\r\n")[2].decode()


KEY = {"Authorization": "Bearer k3y"}


@contextlib.contextmanager
def keyed_server(*flags):
    """Starts a server with a key and these flags. Yields the server and the path of its key file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "keys"
        path.write_text("k3y\n")
        with Server("--publish-key-file", str(path), *flags) as server:
            yield server, path


class Metrics(unittest.TestCase):
    def test_promtool_accepts_the_classic_form(self):
        with keyed_server() as (server, _):
            # Refused requests, so that the counters differ from zero.
            for _ in range(3):
                self.assertEqual(request(server.port, "POST", "/publish/a", {"Origin": "https://elsewhere.example"})[0], 403)
            status, answer = request(server.port, "GET", "/metrics", KEY)
            self.assertEqual(status, 200)
            text = body(answer)
            self.assertIn('standpipe_refused_total{reason="request"} 3\n', text)
            self.assertIn('standpipe_http_requests_total{route="none",code="403"} 3\n', text)
            check = ["promtool", "check", "metrics"]
            checked = subprocess.run(check, input=text, capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))

    def test_promtool_accepts_the_figures_of_redis(self):
        # Nothing listens on these ports, so the hub is isolated.
        flags = ["--redis", "redis://127.0.0.1:1", "--redis", "redis://127.0.0.1:2", "--node", "eu-1", "--admin-open"]
        with Server(*flags) as server:
            text = body(request(server.port, "GET", "/metrics")[1])
            self.assertIn('standpipe_redis_lag_seconds_bucket{le="+Inf",shard="1"} 0\n', text)
            self.assertIn('standpipe_redis_node{name="eu-1"} 1\n', text)
            check = ["promtool", "check", "metrics"]
            checked = subprocess.run(check, input=text, capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))

    def test_prometheus_gets_open_metrics(self):
        with keyed_server() as (server, _):
            accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
            _, answer = request(server.port, "GET", "/metrics", {"Accept": accept, **KEY})
            self.assertIn(b"\r\nContent-Type: application/openmetrics-text; version=1.0.0", answer)
            self.assertTrue(body(answer).endswith("# EOF\n"))


ALERTS = ROOT / "packaging/prometheus/alerts.yml"

# The alert that fires, and the series that make it fire. The other alerts stay silent.
FIRING = [
    ("StandpipeAlmostFull", {"standpipe_clients": "95x60", "standpipe_max_clients": "100x60"}),
    ("StandpipeRefusesClients", {'standpipe_refused_total{reason="max_clients"}': "0+60x60"}),
    (
        "StandpipeSlowConsumers",
        {
            'standpipe_connections_closed_total{cause="slow_consumer",code="4008"}': "0+6x60",
            'standpipe_connections_closed_total{cause="peer",code="1000"}': "0+60x60",
        },
    ),
    ("StandpipeMessagesWait", {"standpipe_queue_age_seconds": "12x60"}),
    ("StandpipePublishesLost", {'standpipe_publishes_total{way="http",result="unavailable"}': "0+6x60"}),
    (
        "StandpipeResumesWithGap",
        {'standpipe_resumes_total{result="gap"}': "0+6x60", 'standpipe_resumes_total{result="whole"}': "0+12x60"},
    ),
    ("StandpipeIsolated", {'standpipe_redis_up{shard="0"}': "0x60"}),
]


class Alerts(unittest.TestCase):
    def test_promtool_accepts_the_rules(self):
        check = ["promtool", "check", "rules", ALERTS]
        checked = subprocess.run(check, capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_each_alert_fires_alone(self):
        tests = []
        names = [line.split()[-1] for line in ALERTS.read_text().splitlines() if "- alert:" in line]
        for firing, series in FIRING:
            self.assertIn(firing, names)
            checks = [{"eval_time": "50m", "alertname": name} for name in names if name != firing]
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="{firing}",alertstate="firing"}})',
                            "eval_time": "50m",
                            "exp_samples": [{"labels": "{}", "value": 1}],
                        }
                    ],
                    "alert_rule_test": checks,
                }
            )
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "test.yml"
            # JSON is YAML.
            path.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
            command = ["promtool", "test", "rules", path]
            tested = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)


def expressions_of_the_dashboard():
    dashboard = json.loads((ROOT / "packaging/grafana/standpipe.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    variables = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}
    for name, value in variables.items():
        found = [expression.replace(name, value) for expression in found]
    return found


class Scraped(unittest.TestCase):
    """Prometheus itself, which keeps its connection and understands both formats."""

    def test_prometheus_scrapes_the_server(self):
        if not shutil.which("prometheus"):
            self.skipTest("prometheus is not installed")
        # With TLS, because the dashboard shows when the certificate expires.
        with keyed_server(*TLS_FLAGS) as (server, keys), tempfile.TemporaryDirectory() as directory:
            config = Path(directory) / "prometheus.yml"
            config.write_text(
                "scrape_configs: [{job_name: standpipe, scrape_interval: 200ms, scrape_timeout: 200ms, "
                f"scheme: https, tls_config: {{ca_file: '{KEYS / 'ca.pem'}'}}, authorization: {{credentials_file: '{keys}'}}, "
                f"static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]}}]\n"
            )
            port = free_port()
            command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data"]
            with Program([*command, f"--web.listen-address=127.0.0.1:{port}"]):
                found = []

                def scraped():
                    query = f"http://127.0.0.1:{port}/api/v1/query?query=standpipe_messages_accepted_total"
                    try:
                        with urllib.request.urlopen(query, timeout=LIMIT) as answer:
                            found[:] = json.load(answer)["data"]["result"]
                    except (urllib.error.URLError, ConnectionError):
                        return False
                    return bool(found)

                wait_until("prometheus has stored a counter", scraped)
                self.assertEqual(found[0]["value"][1], "0")
                expressions = expressions_of_the_dashboard()
                self.assertGreater(len(expressions), 30)
                empty = []
                for expression in expressions:
                    query = urllib.parse.urlencode({"query": expression})
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=LIMIT) as answer:
                        result = json.load(answer)
                    self.assertEqual(result["status"], "success", expression)
                    if not result["data"]["result"] and "rate(" not in expression and "_redis_" not in expression:
                        empty.append(expression)
                # A rate needs several scrapes. Every other panel shows something at the first one.
                self.assertEqual(empty, [])


if __name__ == "__main__":
    unittest.main()
