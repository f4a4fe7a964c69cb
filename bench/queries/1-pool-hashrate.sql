SELECT window_start, hashrate_hs FROM pool_hashrate_1m ORDER BY window_start DESC LIMIT 60
