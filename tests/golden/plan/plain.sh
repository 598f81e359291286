# plain: what longhaul does, as commands. longhaul itself names no namespace and runs no program.
ip netns add a.gw
ip netns exec a.gw sysctl -qw net/ipv4/ip_forward='1'
ip netns exec a.gw sysctl -qw net/ipv4/conf/all/rp_filter='0'
ip netns exec a.gw sysctl -qw net/ipv4/conf/default/rp_filter='0'
ip netns exec a.gw sysctl -qw net/ipv6/conf/all/forwarding='1'
ip netns exec a.gw sysctl -qw net/ipv6/conf/default/forwarding='0'
ip netns exec a.gw sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n a.gw link set lo up
ip -n a.gw addr add 10.15.0.1/32 dev lo
ip -n a.gw addr add fd6c:6800::1:1/128 dev lo nodad
ip -n a.gw link add lan0 up index 2 address 02:6c:68:00:00:01 group 1 numtxqueues 1 numrxqueues 1 type veth peer name lan1 index 3 address 02:6c:68:00:00:02 numtxqueues 1 numrxqueues 1 netns a.gw
ip -n a.gw neigh replace 169.254.1.1 dev lan0 lladdr 02:6c:68:00:00:02 nud permanent
ip -n a.gw neigh replace fe80::1 dev lan0 lladdr 02:6c:68:00:00:02 nud permanent
ip -n a.gw link set lan1 up
ip -n a.gw neigh replace 169.254.1.1 dev lan1 lladdr 02:6c:68:00:00:01 nud permanent
ip -n a.gw neigh replace fe80::1 dev lan1 lladdr 02:6c:68:00:00:01 nud permanent
ip -n a.gw rule add pref 10 iif lan1 lookup main
ip -n a.gw rule add pref 20 from 10.16.0.0/16 lookup 100
ip -n a.gw route replace 10.16.0.0/16 via 169.254.1.1 dev lan0 onlink proto static table 100
ip -6 -n a.gw rule add pref 10 iif lan1 lookup main
ip -6 -n a.gw rule add pref 20 from fd6c:6800:0:1::/64 lookup 100
ip -6 -n a.gw route replace fd6c:6800:0:1::/64 via fe80::1 dev lan0 onlink proto static table 100
ip netns add a-0
ip netns exec a-0 sysctl -qw net/ipv4/tcp_rmem='4096 131072 6291456'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_wmem='4096 16384 4194304'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_slow_start_after_idle='1'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec a-0 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n a-0 link set lo up
ip -n a.gw link add p0 up index 4 address 02:6c:68:00:00:03 group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:04 numtxqueues 1 numrxqueues 1 netns a-0
ip -n a-0 link set eth0 up
ip -n a-0 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:03 nud permanent
ip -n a-0 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:03 nud permanent
ip -n a-0 addr add 10.16.0.1/32 dev eth0
ip -n a-0 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main congctl cubic
ip -n a-0 addr add fd6c:6800:0:1::1/128 dev eth0 nodad
ip -6 -n a-0 route replace local fd6c:6800:0:1::1/128 dev eth0 proto static table local
ip -6 -n a-0 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main congctl cubic
ip netns add a-1
ip netns exec a-1 sysctl -qw net/ipv4/tcp_rmem='4096 131072 6291456'
ip netns exec a-1 sysctl -qw net/ipv4/tcp_wmem='4096 16384 4194304'
ip netns exec a-1 sysctl -qw net/ipv4/tcp_slow_start_after_idle='1'
ip netns exec a-1 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec a-1 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n a-1 link set lo up
ip -n a.gw link add p1 up index 5 address 02:6c:68:00:00:05 group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:06 numtxqueues 1 numrxqueues 1 netns a-1
ip -n a-1 link set eth0 up
ip -n a-1 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:05 nud permanent
ip -n a-1 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:05 nud permanent
ip -n a-1 addr add 10.16.0.2/32 dev eth0
ip -n a-1 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main congctl cubic
ip -n a-1 addr add fd6c:6800:0:1::2/128 dev eth0 nodad
ip -6 -n a-1 route replace local fd6c:6800:0:1::2/128 dev eth0 proto static table local
ip -6 -n a-1 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main congctl cubic
ip -n a.gw neigh replace 169.254.1.1 dev p0 lladdr 02:6c:68:00:00:04 nud permanent
ip -n a.gw neigh replace fe80::1 dev p0 lladdr 02:6c:68:00:00:04 nud permanent
ip -n a.gw route replace 10.16.0.1/32 via 169.254.1.1 dev p0 onlink proto static table main
ip -6 -n a.gw route replace fd6c:6800:0:1::1/128 via fe80::1 dev p0 onlink proto static table main
ip -n a.gw neigh replace 169.254.1.1 dev p1 lladdr 02:6c:68:00:00:06 nud permanent
ip -n a.gw neigh replace fe80::1 dev p1 lladdr 02:6c:68:00:00:06 nud permanent
ip -n a.gw route replace 10.16.0.2/32 via 169.254.1.1 dev p1 onlink proto static table main
ip -6 -n a.gw route replace fd6c:6800:0:1::2/128 via fe80::1 dev p1 onlink proto static table main
ip -n a.gw link show up
