package bench

// Field is a figure that a work may show. The names are stable: they are those of the JSON line. A figure of one process
// has the same name, a dot, and the name of the process.
type Field struct {
	Name   string
	Title  string // in the table
	Digits int    // behind the point, in the table
	Means  string
}

// Fields are all figures, in the order of the table.
var Fields = []Field{
	{"delivered_per_s", "delivered/s", 0, "messages that recipients got in the measured part, per second of it"},
	{"cpu_us_per_delivery", "CPU us/delivery", 2, "CPU time of the servers in the measured part, for each message that a recipient got in it; user and system"},
	{"latency_p50_ms", "latency p50 ms", 3, "from when a message was due to when its recipient had it: half of them took no longer"},
	{"latency_p99_ms", "latency p99 ms", 3, "99 of 100 took no longer"},
	{"latency_p999_ms", "latency p99.9 ms", 3, "999 of 1000 took no longer"},
	{"latency_max_ms", "latency max ms", 3, "the longest"},
	{"answer_p50_ms", "answer p50 ms", 3, "from when a message was due to when its sender had the answer"},
	{"answer_p99_ms", "answer p99 ms", 3, "see answer_p50_ms"},
	{"answer_p999_ms", "answer p99.9 ms", 3, "see answer_p50_ms"},
	{"answer_max_ms", "answer max ms", 3, "see answer_p50_ms"},
	{"late_p50_ms", "sent late p50 ms", 3, "by how much too late messages were sent, which their latency contains: if it is most of that, the generator is what was measured"},
	{"late_p99_ms", "sent late p99 ms", 3, "see late_p50_ms"},
	{"late_p999_ms", "sent late p99.9 ms", 3, "see late_p50_ms"},
	{"late_max_ms", "sent late max ms", 3, "see late_p50_ms"},
	{"lost", "lost", 0, "messages that were answered as delivered, or sent to the group, and did not arrive"},
	{"duplicated", "duplicated", 0, "messages that arrived more than once"},
	{"reordered", "reordered", 0, "messages that arrived after a later one of the same sender"},
	{"proxy_cpu_us_per_message", "proxy: CPU us/message", 2, "of the work gateway: CPU time of the gateway for each message that a recipient got; the request, the message and the answer pass it. The line of another way is that proxy's"},
	{"node_cpu_us_per_message", "node: CPU us/message", 2, "of the work gateway: CPU time of the node behind it, on the same way"},
	{"proxy_connect_cpu_us", "proxy: CPU us/connect", 1, "of the work gateway: CPU time of the proxy to connect one client, up to ready"},
	{"proxy_rss_kib_per_connection", "proxy: RSS KiB/connection", 2, "of the work gateway: by how much the resident memory of the proxy grew for each connection"},
	{"ratio_proxy_cpu", "x HAProxy, CPU", 2, "of the work gateway: proxy_cpu_us_per_message of the gateway to that of HAProxy"},
	{"ratio_proxy_connect", "x HAProxy, connect", 2, "of the work gateway: proxy_connect_cpu_us of the gateway to that of HAProxy, which reads no ticket"},
	{"ratio_proxy_rss", "x HAProxy, RSS", 2, "of the work gateway: proxy_rss_kib_per_connection of the gateway to that of HAProxy"},
	{"calls_per_s", "calls/s", 0, "calls that were answered in the measured part, per second of it"},
	{"cpu_us_per_call", "CPU us/call", 2, "CPU time of the servers in the measured part, for each call that was answered in it; the instances of the service are none of them. With --http, the line of a proxy is that of its processes alone"},
	{"floor_request_us", "floor: request us", 2, "CPU time of a process that makes bare requests over NATS, and of the NATS server, for each that was answered: with as many under way, to instances that answer at once"},
	{"ratio_to_request", "x the request", 2, "cpu_us_per_call to floor_request_us"},
	{"ratio_to_haproxy", "x HAProxy", 2, "of the work calls with --http: cpu_us_per_call to that of HAProxy, which balances the same requests over the same instances in the same run"},
	{"ratio_to_nginx", "x nginx", 2, "the same to that of nginx, its workers counted"},
	{"connections", "connections", 0, "connections of the work idle, or clients of the work storm"},
	{"connects_per_s", "connects/s", 0, "how fast they were made, by 32 at a time: no bound of the servers"},
	{"connect_cpu_us", "CPU us/connect", 1, "CPU time of the servers to connect one client, up to ready"},
	{"rss_kib_per_connection", "RSS KiB/connection", 2, "by how much the resident memory of the edges grew for each connection, from before the first to --settle after the last; the line of a process counts the connections of all"},
	{"rss_end_kib_per_connection", "RSS KiB at the end", 2, "the same at the end of the measured part: with --for 30s or more, after a round of heartbeats, which touches every connection"},
	{"keep_cpu_us_per_s", "CPU us/s to keep one", 3, "CPU time of the servers in the measured part, for each connection and second"},
	{"floor_write_us", "floor: write us", 2, "CPU time of a bare process for one write of such a frame to a loopback connection, at the same rate"},
	{"floor_nats_us", "floor: NATS us", 2, "CPU time of a publisher, the NATS server and a subscriber for one such message, at the same rate"},
	{"floor_us_per_delivery", "floor us/delivery", 2, "a write, and the share of a message through NATS: what a delivery between nodes cannot do without"},
	{"ratio_to_write", "x the write", 2, "cpu_us_per_delivery to floor_write_us"},
	{"ratio_to_floor", "x the floor", 2, "cpu_us_per_delivery to floor_us_per_delivery: this holds on a noisy machine, and from machine to machine"},
	{"floor_connect_us", "floor: connect us", 1, "CPU time of a bare process to accept a TCP connection and answer one line"},
	{"floor_rss_kib", "floor: RSS KiB", 2, "resident memory of that process for each connection"},
	{"ratio_connect", "x the floor, connect", 2, "connect_cpu_us to floor_connect_us"},
	{"ratio_rss", "x the floor, RSS", 2, "rss_kib_per_connection to floor_rss_kib"},
	{"reconnects_per_s", "reconnects/s", 1, "of the work churn: how often recipients left and came back, to another node"},
	{"back_p50_ms", "back p50 ms", 1, "of the work storm: from when the node was ended to when half of its clients were ready on another"},
	{"back_p99_ms", "back p99 ms", 1, "see back_p50_ms"},
	{"back_p999_ms", "back p99.9 ms", 1, "see back_p50_ms"},
	{"back_max_ms", "back all ms", 1, "until all were back"},
	{"attempts", "attempts", 0, "connections that were tried for that: more than there are clients, if some failed"},
	{"peak_connects_per_s", "peak connects/s", 0, "the most that became ready in 100 ms, as a rate"},
	{"redis_commands_per_client", "Redis commands/client", 2, "commands that Redis carried out meanwhile, those in scripts not counted, for each client"},
	{"nats_messages_per_client", "NATS messages/client", 2, "messages into and out of NATS meanwhile, for each client"},
}
