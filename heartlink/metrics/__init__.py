"""What an operator watches, as Prometheus reads it: plain counters of the house, made into families when asked for."""

from heartlink.metrics.collector import Gauge, Metrics
from heartlink.metrics.house import count_files, make_metrics
from heartlink.metrics.lag import watch_loop_lag

__all__ = ["Gauge", "Metrics", "count_files", "make_metrics", "watch_loop_lag"]
