# Of all three nodes; what differs comes by their environment: node_id, api_addr and cluster_addr.
cluster_name = "compose"

# haproxy's X-Forwarded-For is believed, nobody else's.
trusted_proxies = ["172.30.82.10/32"]

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_disable     = true # inside the network of the compose file only
}

storage "raft" {
  path = "/var/lib/holdfast"

  # Each node asks the others until one of them has a cluster; itself it is told apart from them by the answer.
  retry_join {
    leader_api_addr = "http://172.30.82.11:8200"
  }
  retry_join {
    leader_api_addr = "http://172.30.82.12:8200"
  }
  retry_join {
    leader_api_addr = "http://172.30.82.13:8200"
  }
}

audit "file" "file" {
  options {
    file_path = "/var/log/holdfast/audit.log"
  }
}

telemetry {
  prometheus_retention_time = "24h"
}
