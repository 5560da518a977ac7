-- For benchmarks/load/closed.py: `wrk --script wrk.lua URL -- BODIES`, where each line of the file BODIES is the length of
-- the JSON in a body, which binary tensors follow, or 0 where all of it is JSON; and the body in hexadecimal digits.
-- Builds each request once, sends them in turn; done() writes the figures after a marker.

local requests, at = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    local json_bytes, digits = line:match("(%d+) (%x*)")
    local headers = {["Content-Type"] = "application/json"}
    if json_bytes ~= "0" then
      headers = {["Content-Type"] = "application/octet-stream", ["Inference-Header-Content-Length"] = json_bytes}
    end
    headers.Authorization = wrk.headers.Authorization
    local body = digits:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

-- wrk's `status` counts answers of 400 and more. `latencies_us` are pairs [microseconds, how many answers took them].
function done(summary, latency)
  local errors, pairs_us = summary.errors, {}
  for index = 1, #latency do
    pairs_us[index] = string.format("[%d,%d]", latency(index))
  end
  io.write("\nFIGURES ", string.format(
    '{"requests": %d, "duration_us": %d, "latencies_us": [%s], '
      .. '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "non_2xx": %d}}\n',
    summary.requests, summary.duration, table.concat(pairs_us, ","),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
