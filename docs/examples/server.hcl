# One node of three. Run it with: holdfast server -config server.hcl
# Every key is described in docs/configuration.md.

api_addr     = "https://vault-1.example.com:8200"
cluster_addr = "https://vault-1.example.com:8201"
cluster_name = "production"

# The load balancers: their X-Forwarded-For is believed, nobody else's is.
trusted_proxies = ["10.0.10.0/28"]

default_lease_ttl = "24h"
max_lease_ttl     = "768h"

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "/etc/holdfast/tls/server.crt" # the certificate, then its chain; read again at SIGHUP
  tls_key_file    = "/etc/holdfast/tls/server.key"
  tls_min_version = "tls12"

  # The balancers speak the PROXY protocol (haproxy: send-proxy-v2).
  proxy_protocol_behavior = "allow_authorized"

  telemetry {
    unauthenticated_metrics_access = false
  }
}

# For probes of this machine only.
listener "tcp" {
  address     = "127.0.0.1:8210"
  tls_disable = true
}

storage "raft" {
  path    = "/var/lib/holdfast"
  node_id = "vault-1"

  retry_join {
    leader_api_addr     = "https://vault-2.example.com:8200"
    leader_ca_cert_file = "/etc/holdfast/tls/ca.crt"
  }
  retry_join {
    leader_api_addr     = "https://vault-3.example.com:8200"
    leader_ca_cert_file = "/etc/holdfast/tls/ca.crt"
  }
}

# Without a seal block the shares of `holdfast operator init` open the store (seal "shamir"). docs/seals.md has the others.
# seal "awskms" {
#   region     = "eu-central-1"
#   kms_key_id = "alias/holdfast"
# }

audit "file" "file" {
  options {
    file_path = "/var/log/holdfast/audit.log"
  }
}

telemetry {
  prometheus_retention_time = "24h"
}
