SELECT window_start, hashrate_hs FROM hashrate_10s WHERE worker = 'worker-7' ORDER BY window_start DESC LIMIT 180
