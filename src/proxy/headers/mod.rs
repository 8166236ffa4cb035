//! What goes upstream and what comes back: hop-by-hop headers go, forwarding headers are written anew, identity
//! headers are set last.
