-- What wrk measured, as one line of JSON behind wrk's own words.
done = function(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format(
        '\n{"count":%d,"per_second":%.1f,"p50_us":%d,"p99_us":%d,"errors":%d}\n',
        summary.requests, summary.requests * 1e6 / summary.duration,
        latency:percentile(50), latency:percentile(99), failed
    ))
end
