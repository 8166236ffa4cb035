-- Sends what `traffic sign` wrote: a file of requests of one length, which eight digits at its head say.
-- wrk -t 1 -s records.lua URL -- FILE CYCLE
--   0: each request is sent once; when all are, the thread stops and says "dry"
--   n: the first n of them over and over, for requests that nobody remembers
-- One thread: its core is shared with the upstream, so this does nothing but copy.

local HEAD = 8
local file, length, cycle, asked, dry
local sent = 0

function init(args)
  file = assert(io.open(args[1], "rb"))
  file:setvbuf("full", 1048576)
  length = tonumber(file:read(HEAD))
  cycle = tonumber(args[2])
end

function request()
  if not asked then
    -- wrk looks at one request before it begins, and does not send it.
    asked = true
    local first = file:read(length)
    file:seek("set", HEAD)
    return first
  end
  if cycle > 0 and sent == cycle then
    sent = 0
    file:seek("set", HEAD)
  end
  sent = sent + 1
  local record = file:read(length)
  if record then
    return record
  end
  if not dry then
    dry = true
    io.stderr:write("dry\n")
  end
  wrk.thread:stop()
  return "\r\n"
end

-- One line for benches/harness/load.py: answers, seconds, not 2xx or 3xx, errors of the socket, latencies in microseconds.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("result %d %.6f %d %d %d %d\n", summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
