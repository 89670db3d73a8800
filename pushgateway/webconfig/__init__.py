"""What does the file of --web.config.file say, and how is it kept up to date?

The file is the YAML of Prometheus' exporter-toolkit: TLS, basic authentication, headers and a rate limit. `document`
reads YAML strictly, `parse` makes the frozen `WebConfig` of it, `contexts` the TLS context of that, and `source` holds
the last one that could be used, in every process.
"""

from pushgateway.webconfig.parse import ClientAuth, Pem, RateLimit, Tls, WebConfig, parse
from pushgateway.webconfig.source import Loaded, Security, Source, load

__all__ = ["ClientAuth", "Loaded", "Pem", "RateLimit", "Security", "Source", "Tls", "WebConfig", "load", "parse"]
