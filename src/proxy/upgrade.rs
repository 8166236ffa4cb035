//! WebSocket and other upgrades.
