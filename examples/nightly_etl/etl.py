"""How does a nightly batch job look that Prometheus can watch? Orders come over HTTP and go into SQLite.

python etl.py http://shop.internal/orders orders.db
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

import requests

from pymetrics_sdk import SLO, Counter, Job, current_run, instrument, measure, skip

etl = Job("nightly-etl", schedule="0 2 * * *", tz="Europe/Berlin", grace="30m", max_runtime="1h", heartbeat="30s")
revenue = Counter("etl_revenue_total", "Revenue of the orders loaded, by currency.", ["currency"], max_series=20)
instrument("requests")


@measure(slo=SLO(success=99.9, latency=("250ms", 99)))
def convert(order: dict[str, Any]) -> tuple[str, str, float]:
    """Turn an order into a row; a KeyError or ValueError means that the source sent nonsense."""
    return str(order["id"]), str(order["currency"]), float(order["amount"])


@etl
def main(source: str, database: str) -> int:
    """Load the orders of the source; return how many were written."""
    run = current_run()
    with run.stage("extract"):
        answer = requests.get(source, timeout=10)
        answer.raise_for_status()
        orders = answer.json() or skip("no orders today")
    rows = []
    with run.stage("transform"):
        for order in run.track(orders):
            try:
                rows.append(convert(order))
            except (KeyError, ValueError) as error:
                run.record("failed", error=error)
    with run.stage("load"), sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, currency TEXT, amount REAL)")
        connection.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", rows)
    connection.close()
    for _, currency, amount in rows:
        revenue.labels(currency).inc(amount)
    run.record("written", len(rows))
    run.watermark(max(order.get("created_at", 0) for order in orders))
    return len(rows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
