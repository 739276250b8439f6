-- Replays prepared requests, one after the other, over all connections, and prints one line of JSON at the end.
--
-- wrk -s replay.lua URL -- PATH TOKEN_FILE BODIES_FILE
--
-- Each line of BODIES_FILE is one body. The requests are formatted once, so that the tool's own cost per request is a
-- table look-up. wrk does not say which connection asks, so contexts are taken in turn: with 64 of them and 64
-- connections each connection meets another one every time, which is at least as hard as one of its own.

local requests = {}
local count = 0
local at = 0

function init(args)
  local path, token_file, bodies_file = args[1], args[2], args[3]
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(token_file) do
    headers["Authorization"] = "Bearer " .. line
    break
  end
  for body in io.lines(bodies_file) do
    count = count + 1
    requests[count] = wrk.format("POST", path, headers, body)
  end
end

function request()
  at = at + 1
  if at > count then at = 1 end
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"bytes":%d,"bad_status":%d,"bad_socket":%d,"p50":%d,"p90":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
