//! Who answers on which address, and how that changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::task::JoinSet;

use crate::admin::{Admin, EndpointStatus, NonceStatus, Readiness, ReplayStatus, RouteStatus, Status};
use crate::forward_auth::{ExtAuthz, ForwardAuth};
use crate::policy::{Auth, Mode, PathMatch, Route, RouteMatch};
use crate::proxy::upstream::{self, Upstream};
use crate::proxy::{self, Proxy};
use crate::replay::RedisStore;
use crate::server::{
    Bounds, Door, Handler, Inherited, Limits, ListenAddress, Listener, ListenerOptions, Loops, Service, Sharing, Socket,
};
use crate::target::{Account, Peer};
use crate::tls::{Rotating, ServerTls};

use super::{Listening, Shared, StartError};

/// Every listener.
#[derive(Debug)]
pub(super) struct Doors {
    open: Vec<OpenDoor>,
    bounds: Arc<Bounds>,
    admin_bounds: Arc<Bounds>,
    inherited: Inherited,
}

/// Listeners that are to be: all that can fail has been done.
pub(super) struct Prepared(Vec<PreparedDoor>);

/// What a listener is for.
#[derive(Debug, Clone, PartialEq)]
struct Purpose {
    address: ListenAddress,
    kind: Kind,
    tls: Option<ServerTls>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Client(Door),
    Admin,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client(Door::Proxy) => "proxy",
            Self::Client(Door::ForwardAuth(..)) => "forward_auth",
            Self::Client(Door::ExtAuthz(_)) => "ext_authz",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug)]
struct OpenDoor {
    purpose: Purpose,
    listener: Listener<Answerer>,
    /// Follows the TLS files.
    _watch: JoinSet<()>,
}

struct PreparedDoor {
    purpose: Purpose,
    /// Which of the open listeners it is.
    open: Option<usize>,
    change: Change,
}

enum Change {
    /// Nothing.
    Keep,
    /// Another service on the same socket.
    Replace(Service<Answerer>),
    /// A new socket.
    Open(Socket, Service<Answerer>),
}

impl Doors {
    pub(super) fn new(bounds: Arc<Bounds>, admin_bounds: Arc<Bounds>, inherited: Inherited) -> Self {
        Self { open: Vec::new(), bounds, admin_bounds, inherited }
    }

    /// Sockets that were handed over, and that no listener has asked for.
    pub(super) fn unused(&self) -> Vec<ListenAddress> {
        self.inherited.left()
    }

    pub(super) fn listening(&self) -> Vec<Listening> {
        let listening =
            |door: &OpenDoor| Listening { door: door.purpose.kind.as_str(), address: door.listener.address().clone() };
        self.open.iter().map(listening).collect()
    }

    pub(super) fn loops(&self) -> &Loops {
        self.bounds.loops()
    }

    pub(super) fn limits(&self) -> Limits {
        self.bounds.limits()
    }

    pub(super) fn reconfigure(&self, limits: Limits, admin: Limits) {
        self.bounds.reconfigure(limits);
        self.admin_bounds.reconfigure(admin);
    }

    /// Binds and reads what the wanted listeners need beyond the open ones; changes nothing yet.
    pub(super) fn prepare(
        &self,
        shared: &Arc<Shared>,
        listeners: &[ListenerOptions],
        admin_address: Option<SocketAddr>,
    ) -> Result<Prepared, StartError> {
        let client = |options: &ListenerOptions| {
            let (address, tls) = (options.address.clone(), options.tls.clone());
            (options.sharing, Purpose { address, kind: Kind::Client(options.door), tls })
        };
        let admin = |at| (Sharing::Alone, Purpose { address: ListenAddress::Tcp(at), kind: Kind::Admin, tls: None });
        let mut taken = vec![false; self.open.len()];
        let doors = listeners.iter().map(client).chain(admin_address.map(admin)).map(|(sharing, purpose)| {
            let found = self.free(&taken, &purpose);
            let change = match found {
                Some((at, open)) => {
                    if let Some(taken) = taken.get_mut(at) {
                        *taken = true;
                    }
                    if open.purpose == purpose {
                        if let Some(tls) = &open.listener.service().tls {
                            tls.refresh();
                        }
                        Change::Keep
                    } else {
                        Change::Replace(service(&purpose, shared)?)
                    }
                }
                None => {
                    let bound = self.inherited.bind(&purpose.address, sharing);
                    let socket =
                        bound.map_err(|source| StartError::Bind { address: purpose.address.clone(), source })?;
                    Change::Open(socket, service(&purpose, shared)?)
                }
            };
            Ok(PreparedDoor { purpose, open: found.map(|(at, _)| at), change })
        });
        doors.collect::<Result<_, _>>().map(Prepared)
    }

    /// An open listener for that purpose that is not taken yet. Addresses may repeat where the port is 0: each stands
    /// for one, and the one that answers so already comes first.
    fn free(&self, taken: &[bool], purpose: &Purpose) -> Option<(usize, &OpenDoor)> {
        let mut free = self.open.iter().enumerate().filter(|(at, _)| taken.get(*at) == Some(&false));
        let same = free.clone().find(|(_, open)| open.purpose == *purpose);
        same.or_else(|| free.find(|(_, open)| open.purpose.address == purpose.address))
    }

    /// Makes it so. What is wanted no more is drained.
    pub(super) fn commit(&mut self, prepared: Prepared, drain_timeout: Duration) {
        let mut old: Vec<_> = std::mem::take(&mut self.open).into_iter().map(Some).collect();
        for PreparedDoor { purpose, open, change } in prepared.0 {
            let open = open.and_then(|at| old.get_mut(at)).and_then(Option::take);
            match (change, open) {
                (Change::Open(socket, service), _) => {
                    let bounds = match purpose.kind {
                        Kind::Client(_) => &self.bounds,
                        Kind::Admin => &self.admin_bounds,
                    };
                    let watch = watch(&service);
                    let listener = Listener::start(socket, service, Arc::clone(bounds));
                    self.open.push(OpenDoor { purpose, listener, _watch: watch });
                }
                (Change::Keep, Some(open)) => self.open.push(open),
                (Change::Replace(service), Some(OpenDoor { listener, .. })) => {
                    let watch = watch(&service);
                    listener.replace(service, drain_timeout);
                    self.open.push(OpenDoor { purpose, listener, _watch: watch });
                }
                (Change::Keep | Change::Replace(_), None) => {}
            }
        }
        for door in old.into_iter().flatten() {
            tokio::spawn(door.listener.drain(drain_timeout));
        }
    }

    /// Asks clients to come elsewhere, and goes on serving them.
    pub(super) fn leave(&self) {
        for door in self.open.iter().filter(|door| matches!(door.purpose.kind, Kind::Client(_))) {
            door.listener.leave();
        }
    }

    /// Drains the clients' listeners, and only then the operators'.
    pub(super) async fn drain(self, limit: Duration, admin_limit: Duration) {
        let (operators, clients): (Vec<_>, Vec<_>) =
            self.open.into_iter().partition(|door| matches!(door.purpose.kind, Kind::Admin));
        for (doors, limit) in [(clients, limit), (operators, admin_limit)] {
            let mut draining: JoinSet<()> = doors.into_iter().map(|door| door.listener.drain(limit)).collect();
            while draining.join_next().await.is_some() {}
        }
    }
}

fn service(purpose: &Purpose, shared: &Arc<Shared>) -> Result<Service<Answerer>, StartError> {
    let handler = match purpose.kind {
        Kind::Client(Door::Proxy) => {
            Answerer::Proxy(Proxy::new(Arc::clone(&shared.proxy), shared.clock.clone(), Arc::clone(&shared.metrics)))
        }
        Kind::Client(Door::ForwardAuth(spend, account)) => {
            let live = Arc::clone(&shared.forward_auth);
            Answerer::ForwardAuth(ForwardAuth::new(live, shared.clock.clone(), spend, account))
        }
        Kind::Client(Door::ExtAuthz(spend)) => {
            // Envoy's attributes are the account here.
            let live = Arc::clone(&shared.forward_auth);
            let door = ForwardAuth::new(live, shared.clock.clone(), spend, Account::RequestLine);
            let shared = Arc::clone(shared);
            Answerer::ExtAuthz(ExtAuthz::new(door, Arc::new(move || readiness(&shared) == Readiness::Ready)))
        }
        Kind::Admin => {
            let shared = Arc::clone(shared);
            let metrics = Arc::clone(&shared.metrics);
            Answerer::Admin(Admin { metrics, status: Arc::new(move || status(&shared)) })
        }
    };
    let tls = purpose.tls.clone().map(Rotating::new).transpose()?;
    Ok(Service { handler: Arc::new(handler), tls })
}

fn watch(service: &Service<Answerer>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    if let Some(tls) = &service.tls {
        set.spawn(Arc::clone(tls).watch());
    }
    set
}

/// Who answers.
enum Answerer {
    Proxy(Proxy),
    ForwardAuth(ForwardAuth),
    ExtAuthz(ExtAuthz),
    Admin(Admin),
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proxy(_) => "Proxy",
            Self::ForwardAuth(_) => "ForwardAuth",
            Self::ExtAuthz(_) => "ExtAuthz",
            Self::Admin(_) => "Admin",
        })
    }
}

impl Handler for Answerer {
    type Body = proxy::Body;

    async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<proxy::Body> {
        match self {
            Self::Proxy(proxy) => proxy.handle(request, peer).await,
            // In boxes: the one future that has room for all of these is moved with each request.
            Self::ForwardAuth(door) => whole(Box::pin(door.handle(&request.into_parts().0, peer)).await),
            Self::ExtAuthz(door) => {
                Box::pin(door.handle(request, peer)).await.map(|body| body.map_err(Into::into).boxed_unsync())
            }
            Self::Admin(admin) => whole(admin.handle(&request)),
        }
    }
}

fn whole(response: Response<Bytes>) -> Response<proxy::Body> {
    response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

fn readiness(shared: &Shared) -> Readiness {
    if shared.draining.load(Ordering::Relaxed) {
        Readiness::Draining
    } else if !shared.proxy.load().gate.issuers.ready() {
        Readiness::NoKeys
    } else if !shared.proxy.load().gate.replay.is_ready() {
        Readiness::NoStore
    } else {
        Readiness::Ready
    }
}

fn status(shared: &Shared) -> Status {
    let live = shared.proxy.load();
    let mut upstreams: Vec<_> =
        live.upstreams.iter().map(|(name, upstream)| (Arc::clone(name), endpoints(upstream))).collect();
    upstreams.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (now, totals) = (shared.clock.now(), shared.metrics.totals());
    Status {
        now,
        started: shared.started,
        readiness: readiness(shared),
        routes: live.gate.routes.iter().map(|route| route_status(route)).collect(),
        upstreams,
        issuers: live.gate.issuers.status(),
        nonces: live
            .gate
            .nonces
            .as_ref()
            .map(|nonces| NonceStatus { lifetime: nonces.lifetime().as_secs(), rotating: nonces.is_rotating() }),
        replay: ReplayStatus {
            entries: live.gate.replay.memory().len(),
            capacity: shared.replay_capacity.load(Ordering::Relaxed),
            shared: live.gate.replay.shared().map(RedisStore::status),
        },
        connections: u64::try_from(shared.metrics.connections.get()).unwrap_or_default(),
        history: shared.history.stretches(now, &totals),
        totals,
        refusals: shared.recent.all(),
    }
}

fn endpoints(upstream: &Upstream) -> Vec<EndpointStatus> {
    let status = |endpoint: upstream::EndpointStatus| EndpointStatus {
        url: endpoint.url,
        healthy: endpoint.healthy,
        in_flight: endpoint.in_flight,
    };
    upstream.status().into_iter().map(status).collect()
}

fn route_status(route: &Route) -> RouteStatus {
    let RouteMatch { path, methods, host } = &route.matches;
    let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { "any method".to_owned() } else { methods.join(", ") };
    let (path, rest) = match path {
        PathMatch::Exact(path) => (path, ""),
        PathMatch::Prefix(path) => (path, "\u{2026}"),
    };
    RouteStatus {
        label: route.metrics.label().to_owned(),
        matches: format!("{methods} {}{path}{rest}", host.as_deref().unwrap_or_default()),
        upstream: route.upstream.to_string(),
        auth: match route.auth {
            Auth::Dpop => "dpop",
            Auth::DpopOrBearer => "dpop_or_bearer",
            Auth::Public => "public",
            Auth::TokenEndpoint => "token_endpoint",
        },
        mode: match route.mode {
            Mode::Enforce => "enforce",
            Mode::Report => "report",
        },
    }
}
