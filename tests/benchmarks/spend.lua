-- For wrk: spends and balance reads on accounts bench-0 to bench-<ACCOUNTS - 1>.
-- The environment says which: KIND (spend or balance), KEY, ACCOUNTS, RUN (unique).

local count, thread_number = 0, 0
local kind, accounts = os.getenv("KIND"), tonumber(os.getenv("ACCOUNTS"))
local run = os.getenv("RUN")
local headers = {
  ["Authorization"] = "Bearer " .. os.getenv("KEY"),
  ["Content-Type"] = "application/json",
}
local body = '{"amount":1,"reason":"bench"}'

function setup(thread)
  thread_number = thread_number + 1
  thread:set("number", thread_number)
end

function init()
  math.randomseed(number)
end

function request()
  local path = "/v1/accounts/bench-" .. math.random(0, accounts - 1)
  if kind == "balance" then
    return wrk.format("GET", path, headers)
  end
  count = count + 1
  headers["Idempotency-Key"] = "wrk-" .. run .. "-" .. number .. "-" .. count
  return wrk.format("POST", path .. "/debits", headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"ms_p50":%f,"ms_p99":%f,"errors":%d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
