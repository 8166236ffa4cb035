-- Every request its own proof. Thread N reads PREFIX.N, one proof a line, made by `dpop-gate proof --count`.
-- wrk -t THREADS -s wrk.lua URL -- PREFIX TOKEN_FILE once|again
--   once:  a thread that has used up its proofs stops, and the run says so: its rate would be too low
--   again: from the start once more, for a server that does not check (the baseline)

local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(args)
  path = args[1] .. "." .. id
  token = assert(io.open(args[2])):read("*l")
  again = args[3] == "again"
  proofs = assert(io.open(path))
  head = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
    .. "\r\nAuthorization: DPoP " .. token .. "\r\nDPoP: "
end

function request()
  local proof = proofs:read("*l")
  if not proof and again then
    proofs:seek("set")
    proof = proofs:read("*l")
  end
  if not proof then
    if not exhausted then
      exhausted = true
      io.stderr:write("proofs used up\n")
    end
    wrk.thread:stop()
    proof = "none"
  end
  return head .. proof .. "\r\n\r\n"
end

-- One line for `run`: requests, seconds, not 2xx, errors of the socket, and latencies in microseconds.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("result %d %.3f %d %d %d %d %d\n", summary.requests, summary.duration / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
