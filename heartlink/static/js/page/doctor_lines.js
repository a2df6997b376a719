/** The lines that let sockets through the usual proxies; 127.0.0.1:8000 stands for HeartLink. */

export const PROXY_LINES = {
  nginx: `location / {
    proxy_pass http://127.0.0.1:8000;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $http_connection;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_read_timeout 300s;
    proxy_buffering off;
}`,
  Caddy: `chat.example.org {
    reverse_proxy 127.0.0.1:8000
}`,
  Apache: `ProxyPreserveHost On
RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}
ProxyPass / http://127.0.0.1:8000/ upgrade=websocket timeout=300`,
  HAProxy: `backend heartlink
    option forwardfor
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    timeout server 300s
    timeout tunnel 1h
    server heartlink 127.0.0.1:8000`,
};
