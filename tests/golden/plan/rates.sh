# rates: what longhaul does, as commands. longhaul itself names no namespace and runs no program.
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
ip netns add a.access
ip netns exec a.access sysctl -qw net/ipv4/ip_forward='1'
ip netns exec a.access sysctl -qw net/ipv4/conf/all/rp_filter='0'
ip netns exec a.access sysctl -qw net/ipv4/conf/default/rp_filter='0'
ip netns exec a.access sysctl -qw net/ipv6/conf/all/forwarding='1'
ip netns exec a.access sysctl -qw net/ipv6/conf/default/forwarding='0'
ip netns exec a.access sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n a.access link set lo up
ip -n a.access addr add 10.15.0.2/32 dev lo
ip -n a.access addr add fd6c:6800::2:1/128 dev lo nodad
ip netns add b.gw
ip netns exec b.gw sysctl -qw net/ipv4/ip_forward='1'
ip netns exec b.gw sysctl -qw net/ipv4/conf/all/rp_filter='0'
ip netns exec b.gw sysctl -qw net/ipv4/conf/default/rp_filter='0'
ip netns exec b.gw sysctl -qw net/ipv6/conf/all/forwarding='1'
ip netns exec b.gw sysctl -qw net/ipv6/conf/default/forwarding='0'
ip netns exec b.gw sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n b.gw link set lo up
ip -n b.gw addr add 10.15.1.1/32 dev lo
ip -n b.gw addr add fd6c:6800::1:2/128 dev lo nodad
ip -n a.gw link add lan0 up index 2 address 02:6c:68:00:00:01 group 1 numtxqueues 1 numrxqueues 1 type veth peer name lan1 index 3 address 02:6c:68:00:00:02 numtxqueues 1 numrxqueues 1 netns a.gw
ip -n a.gw link add acc up index 4 address 02:6c:68:00:00:03 group 1 numtxqueues 1 numrxqueues 1 type veth peer name gw index 2 address 02:6c:68:00:00:04 numtxqueues 1 numrxqueues 1 netns a.access
ip -n a.access link add w1 up index 3 address 02:6c:68:00:00:05 group 1 numtxqueues 1 numrxqueues 1 type veth peer name w0 index 2 address 02:6c:68:00:00:06 numtxqueues 1 numrxqueues 1 netns b.gw
ip -n b.gw link add lan0 up index 3 address 02:6c:68:00:00:07 group 1 numtxqueues 1 numrxqueues 1 type veth peer name lan1 index 4 address 02:6c:68:00:00:08 numtxqueues 1 numrxqueues 1 netns b.gw
ip -n a.gw neigh replace 169.254.1.1 dev lan0 lladdr 02:6c:68:00:00:02 nud permanent
ip -n a.gw neigh replace fe80::1 dev lan0 lladdr 02:6c:68:00:00:02 nud permanent
tc -n a.gw qdisc replace dev lan0 root tbf rate 100000000bit burst 6250b limit 15140b
ip -n a.gw link set lan1 up
ip -n a.gw neigh replace 169.254.1.1 dev lan1 lladdr 02:6c:68:00:00:01 nud permanent
ip -n a.gw neigh replace fe80::1 dev lan1 lladdr 02:6c:68:00:00:01 nud permanent
ip -n a.gw neigh replace 169.254.1.1 dev acc lladdr 02:6c:68:00:00:04 nud permanent
ip -n a.gw neigh replace fe80::1 dev acc lladdr 02:6c:68:00:00:04 nud permanent
tc -n a.gw qdisc replace dev acc root tbf rate 50000000bit burst 3125b limit 15140b
ip -n a.gw route replace 0.0.0.0/0 via 169.254.1.1 dev acc onlink proto static table main
ip -6 -n a.gw route replace ::/0 via fe80::1 dev acc onlink proto static table main
ip -n a.gw rule add pref 10 iif lan1 lookup main
ip -n a.gw rule add pref 20 from 10.16.0.0/16 lookup 100
ip -n a.gw route replace 10.16.0.0/16 via 169.254.1.1 dev lan0 onlink proto static table 100
ip -6 -n a.gw rule add pref 10 iif lan1 lookup main
ip -6 -n a.gw rule add pref 20 from fd6c:6800:0:1::/64 lookup 100
ip -6 -n a.gw route replace fd6c:6800:0:1::/64 via fe80::1 dev lan0 onlink proto static table 100
ip -n a.access link set gw up
ip -n a.access neigh replace 169.254.1.1 dev gw lladdr 02:6c:68:00:00:03 nud permanent
ip -n a.access neigh replace fe80::1 dev gw lladdr 02:6c:68:00:00:03 nud permanent
tc -n a.access qdisc replace dev gw root tbf rate 40000000bit burst 3028b limit 15140b
ip -n a.access route replace 10.16.0.0/16 via 169.254.1.1 dev gw onlink proto static table main
ip -6 -n a.access route replace fd6c:6800:0:1::/64 via fe80::1 dev gw onlink proto static table main
ip -n a.access neigh replace 169.254.1.1 dev w1 lladdr 02:6c:68:00:00:06 nud permanent
ip -n a.access neigh replace fe80::1 dev w1 lladdr 02:6c:68:00:00:06 nud permanent
tc -n a.access qdisc replace dev w1 root tbf rate 100000000bit burst 6250b limit 15140b
ip -n a.access route replace 10.17.0.0/16 via 169.254.1.1 dev w1 onlink proto static table main
ip -6 -n a.access route replace fd6c:6800:0:2::/64 via fe80::1 dev w1 onlink proto static table main
ip -n b.gw neigh replace 169.254.1.1 dev lan0 lladdr 02:6c:68:00:00:08 nud permanent
ip -n b.gw neigh replace fe80::1 dev lan0 lladdr 02:6c:68:00:00:08 nud permanent
tc -n b.gw qdisc replace dev lan0 root tbf rate 100000000bit burst 6250b limit 15140b
ip -n b.gw link set lan1 up
ip -n b.gw neigh replace 169.254.1.1 dev lan1 lladdr 02:6c:68:00:00:07 nud permanent
ip -n b.gw neigh replace fe80::1 dev lan1 lladdr 02:6c:68:00:00:07 nud permanent
ip -n b.gw rule add pref 10 iif lan1 lookup main
ip -n b.gw rule add pref 20 from 10.17.0.0/16 lookup 100
ip -n b.gw route replace 10.17.0.0/16 via 169.254.1.1 dev lan0 onlink proto static table 100
ip -6 -n b.gw rule add pref 10 iif lan1 lookup main
ip -6 -n b.gw rule add pref 20 from fd6c:6800:0:2::/64 lookup 100
ip -6 -n b.gw route replace fd6c:6800:0:2::/64 via fe80::1 dev lan0 onlink proto static table 100
ip -n b.gw link set w0 up
ip -n b.gw neigh replace 169.254.1.1 dev w0 lladdr 02:6c:68:00:00:05 nud permanent
ip -n b.gw neigh replace fe80::1 dev w0 lladdr 02:6c:68:00:00:05 nud permanent
tc -n b.gw qdisc replace dev w0 root tbf rate 100000000bit burst 6250b limit 15140b
ip -n b.gw route replace 10.16.0.0/16 via 169.254.1.1 dev w0 onlink proto static table main
ip -6 -n b.gw route replace fd6c:6800:0:1::/64 via fe80::1 dev w0 onlink proto static table main
ip netns add a-0
ip netns exec a-0 sysctl -qw net/ipv4/tcp_rmem='4096 131072 6291456'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_wmem='4096 16384 4194304'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_slow_start_after_idle='1'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec a-0 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n a-0 link set lo up
ip -n a.gw link add p0 up index 5 address 02:6c:68:00:00:09 group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:0a numtxqueues 1 numrxqueues 1 netns a-0
ip -n a-0 link set eth0 up
ip -n a-0 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:09 nud permanent
ip -n a-0 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:09 nud permanent
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
ip -n a.gw link add p1 up index 6 address 02:6c:68:00:00:0b group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:0c numtxqueues 1 numrxqueues 1 netns a-1
ip -n a-1 link set eth0 up
ip -n a-1 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:0b nud permanent
ip -n a-1 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:0b nud permanent
ip -n a-1 addr add 10.16.0.2/32 dev eth0
ip -n a-1 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main congctl cubic
ip -n a-1 addr add fd6c:6800:0:1::2/128 dev eth0 nodad
ip -6 -n a-1 route replace local fd6c:6800:0:1::2/128 dev eth0 proto static table local
ip -6 -n a-1 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main congctl cubic
ip netns add b-0
ip netns exec b-0 sysctl -qw net/ipv4/tcp_rmem='4096 131072 6291456'
ip netns exec b-0 sysctl -qw net/ipv4/tcp_wmem='4096 16384 4194304'
ip netns exec b-0 sysctl -qw net/ipv4/tcp_slow_start_after_idle='1'
ip netns exec b-0 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec b-0 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n b-0 link set lo up
ip -n b.gw link add p0 up index 5 address 02:6c:68:00:00:0d group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:0e numtxqueues 1 numrxqueues 1 netns b-0
ip -n b-0 link set eth0 up
ip -n b-0 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:0d nud permanent
ip -n b-0 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:0d nud permanent
ip -n b-0 addr add 10.17.0.1/32 dev eth0
ip -n b-0 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main congctl cubic
ip -n b-0 addr add fd6c:6800:0:2::1/128 dev eth0 nodad
ip -6 -n b-0 route replace local fd6c:6800:0:2::1/128 dev eth0 proto static table local
ip -6 -n b-0 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main congctl cubic
ip netns add b-1.nic
ip netns exec b-1.nic sysctl -qw net/ipv4/ip_forward='1'
ip netns exec b-1.nic sysctl -qw net/ipv4/conf/all/rp_filter='0'
ip netns exec b-1.nic sysctl -qw net/ipv4/conf/default/rp_filter='0'
ip netns exec b-1.nic sysctl -qw net/ipv6/conf/all/forwarding='1'
ip netns exec b-1.nic sysctl -qw net/ipv6/conf/default/forwarding='0'
ip netns exec b-1.nic sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n b-1.nic link set lo up
ip -n b.gw link add p1 up index 6 address 02:6c:68:00:00:0f group 1 numtxqueues 1 numrxqueues 1 type veth peer name out index 2 address 02:6c:68:00:00:10 numtxqueues 1 numrxqueues 1 netns b-1.nic
ip -n b-1.nic link set out up
ip -n b-1.nic neigh replace 169.254.1.1 dev out lladdr 02:6c:68:00:00:0f nud permanent
ip -n b-1.nic neigh replace fe80::1 dev out lladdr 02:6c:68:00:00:0f nud permanent
tc -n b-1.nic qdisc replace dev out root tbf rate 20000000bit burst 3028b limit 15140b
ip -n b-1.nic route replace 0.0.0.0/0 via 169.254.1.1 dev out onlink proto static table main
ip -6 -n b-1.nic route replace ::/0 via fe80::1 dev out onlink proto static table main
ip netns add b-1
ip netns exec b-1 sysctl -qw net/ipv4/tcp_rmem='4096 65536 1048576'
ip netns exec b-1 sysctl -qw net/ipv4/tcp_wmem='4096 65536 1048576'
ip netns exec b-1 sysctl -qw net/ipv4/tcp_slow_start_after_idle='0'
ip netns exec b-1 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec b-1 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n b-1 link set lo up
ip -n b-1.nic link add in up index 3 address 02:6c:68:00:00:11 group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:12 numtxqueues 1 numrxqueues 1 netns b-1
ip -n b-1 link set eth0 up
ip -n b-1 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:11 nud permanent
ip -n b-1 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:11 nud permanent
ip -n b-1 addr add 10.17.0.2/32 dev eth0
ip -n b-1 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main initcwnd 4 congctl reno
ip -n b-1 addr add fd6c:6800:0:2::2/128 dev eth0 nodad
ip -6 -n b-1 route replace local fd6c:6800:0:2::2/128 dev eth0 proto static table local
ip -6 -n b-1 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main initcwnd 4 congctl reno
ip -n a.gw neigh replace 169.254.1.1 dev p0 lladdr 02:6c:68:00:00:0a nud permanent
ip -n a.gw neigh replace fe80::1 dev p0 lladdr 02:6c:68:00:00:0a nud permanent
ip -n a.gw route replace 10.16.0.1/32 via 169.254.1.1 dev p0 onlink proto static table main
ip -6 -n a.gw route replace fd6c:6800:0:1::1/128 via fe80::1 dev p0 onlink proto static table main
ip -n a.gw neigh replace 169.254.1.1 dev p1 lladdr 02:6c:68:00:00:0c nud permanent
ip -n a.gw neigh replace fe80::1 dev p1 lladdr 02:6c:68:00:00:0c nud permanent
ip -n a.gw route replace 10.16.0.2/32 via 169.254.1.1 dev p1 onlink proto static table main
ip -6 -n a.gw route replace fd6c:6800:0:1::2/128 via fe80::1 dev p1 onlink proto static table main
ip -n a.access link show up
ip -n a.gw link show up
ip -n b-1.nic neigh replace 169.254.1.1 dev in lladdr 02:6c:68:00:00:12 nud permanent
ip -n b-1.nic neigh replace fe80::1 dev in lladdr 02:6c:68:00:00:12 nud permanent
tc -n b-1.nic qdisc replace dev in root tbf rate 20000000bit burst 3028b limit 15140b
ip -n b-1.nic route replace 10.17.0.2/32 via 169.254.1.1 dev in onlink proto static table main
ip -6 -n b-1.nic route replace fd6c:6800:0:2::2/128 via fe80::1 dev in onlink proto static table main
ip -n b-1.nic link show up
ip -n b.gw neigh replace 169.254.1.1 dev p0 lladdr 02:6c:68:00:00:0e nud permanent
ip -n b.gw neigh replace fe80::1 dev p0 lladdr 02:6c:68:00:00:0e nud permanent
ip -n b.gw route replace 10.17.0.1/32 via 169.254.1.1 dev p0 onlink proto static table main
ip -6 -n b.gw route replace fd6c:6800:0:2::1/128 via fe80::1 dev p0 onlink proto static table main
ip -n b.gw neigh replace 169.254.1.1 dev p1 lladdr 02:6c:68:00:00:10 nud permanent
ip -n b.gw neigh replace fe80::1 dev p1 lladdr 02:6c:68:00:00:10 nud permanent
ip -n b.gw route replace 10.17.0.2/32 via 169.254.1.1 dev p1 onlink proto static table main
ip -6 -n b.gw route replace fd6c:6800:0:2::2/128 via fe80::1 dev p1 onlink proto static table main
ip -n b.gw link show up
