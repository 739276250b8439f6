-- Replays prepared requests, one after the other, over all connections, and
-- prints one line of JSON at the end.
--
-- wrk -s replay.lua URL -- PATH TOKEN_FILE BODIES_FILE FIRST CHECK
--
-- Each line of BODIES_FILE is one body. The requests are formatted once, so
-- that the tool's own cost per request is a table look-up. wrk does not say
-- which connection asks, so contexts are taken in turn: with 64 of them and 64
-- connections each connection meets another one every time, which is at least
-- as hard as one of its own.
--
-- FIRST is `-`, or a number; then there is one body, and the digits 99999999 in
-- it are replaced by a count from FIRST. CHECK is `check` if each answer is to
-- be looked at (that slows the tool down), or `-`.

local requests = {}
local count = 0
local at = 0
local number, before, after
local threads = {}
wrong = 0

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local path, token_file, bodies_file, first, check = args[1], args[2], args[3], args[4], args[5]
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(token_file) do
    headers["Authorization"] = "Bearer " .. line
    break
  end
  for body in io.lines(bodies_file) do
    count = count + 1
    requests[count] = wrk.format("POST", path, headers, body)
  end
  if first ~= "-" then
    number = tonumber(first)
    local from, to = requests[1]:find("99999999", 1, true)
    before, after = requests[1]:sub(1, from - 1), requests[1]:sub(to + 1)
  end
  if check == "check" then
    -- wrk hands over answers only if there is such a function.
    response = function(status, _, body)
      if status ~= 200 or not body:find('"result"', 1, true) then wrong = wrong + 1 end
    end
  end
end

function request()
  if number then
    number = number + 1
    return before .. string.format("%08d", number - 1) .. after
  end
  at = at + 1
  if at > count then at = 1 end
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  local answers_wrong = 0
  for _, thread in ipairs(threads) do answers_wrong = answers_wrong + thread:get("wrong") end
  io.write(string.format(
    '{"requests":%d,"micros":%d,"bytes":%d,"failed":%d,"wrong":%d,"p50":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout, answers_wrong,
    latency:percentile(50), latency:percentile(99), latency.max))
end
