//! Forward authentication for other proxies: the original request out of headers, then the same gate.
