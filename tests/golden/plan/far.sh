# far: what longhaul does, as commands. longhaul itself names no namespace and runs no program.
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
ip netns add c.gw
ip netns exec c.gw sysctl -qw net/ipv4/ip_forward='1'
ip netns exec c.gw sysctl -qw net/ipv4/conf/all/rp_filter='0'
ip netns exec c.gw sysctl -qw net/ipv4/conf/default/rp_filter='0'
ip netns exec c.gw sysctl -qw net/ipv6/conf/all/forwarding='1'
ip netns exec c.gw sysctl -qw net/ipv6/conf/default/forwarding='0'
ip netns exec c.gw sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n c.gw link set lo up
ip -n c.gw addr add 10.15.2.1/32 dev lo
ip -n c.gw addr add fd6c:6800::1:3/128 dev lo nodad
ip -n a.gw link add lan0 up index 2 address 02:6c:68:00:00:01 group 1 numtxqueues 1 numrxqueues 1 type veth peer name lan1 index 3 address 02:6c:68:00:00:02 numtxqueues 1 numrxqueues 1 netns a.gw
ip -n a.gw link add w1 up index 4 address 02:6c:68:00:00:03 group 1 numtxqueues 1 numrxqueues 1 type veth peer name w0 index 2 address 02:6c:68:00:00:04 numtxqueues 1 numrxqueues 1 netns b.gw
ip -n a.gw link add w2 up index 5 address 02:6c:68:00:00:05 group 1 numtxqueues 1 numrxqueues 1 type veth peer name w0 index 2 address 02:6c:68:00:00:06 numtxqueues 1 numrxqueues 1 netns c.gw
ip -n b.gw link add lan0 up index 3 address 02:6c:68:00:00:07 group 1 numtxqueues 1 numrxqueues 1 type veth peer name lan1 index 4 address 02:6c:68:00:00:08 numtxqueues 1 numrxqueues 1 netns b.gw
ip -n b.gw link add w2 up index 5 address 02:6c:68:00:00:09 group 1 numtxqueues 1 numrxqueues 1 type veth peer name w1 index 3 address 02:6c:68:00:00:0a numtxqueues 1 numrxqueues 1 netns c.gw
ip -n c.gw link add lan0 up index 4 address 02:6c:68:00:00:0b group 1 numtxqueues 1 numrxqueues 1 type veth peer name lan1 index 5 address 02:6c:68:00:00:0c numtxqueues 1 numrxqueues 1 netns c.gw
ip netns exec a.gw ethtool -K lan0 gro off
ip -n a.gw neigh replace 169.254.1.1 dev lan0 lladdr 02:6c:68:00:00:02 nud permanent
ip -n a.gw neigh replace fe80::1 dev lan0 lladdr 02:6c:68:00:00:02 nud permanent
tc -n a.gw qdisc replace dev lan0 root netem limit 262144 delay 250us
ip -n a.gw link set lan1 up
ip netns exec a.gw ethtool -K lan1 gro off
ip -n a.gw neigh replace 169.254.1.1 dev lan1 lladdr 02:6c:68:00:00:01 nud permanent
ip -n a.gw neigh replace fe80::1 dev lan1 lladdr 02:6c:68:00:00:01 nud permanent
ip -n a.gw rule add pref 10 iif lan1 lookup main
ip -n a.gw rule add pref 20 from 10.16.0.0/16 lookup 100
ip -n a.gw route replace 10.16.0.0/16 via 169.254.1.1 dev lan0 onlink proto static table 100
ip -6 -n a.gw rule add pref 10 iif lan1 lookup main
ip -6 -n a.gw rule add pref 20 from fd6c:6800:0:1::/64 lookup 100
ip -6 -n a.gw route replace fd6c:6800:0:1::/64 via fe80::1 dev lan0 onlink proto static table 100
ip netns exec a.gw ethtool -K w1 gro off
ip -n a.gw neigh replace 169.254.1.1 dev w1 lladdr 02:6c:68:00:00:04 nud permanent
ip -n a.gw neigh replace fe80::1 dev w1 lladdr 02:6c:68:00:00:04 nud permanent
tc -n a.gw qdisc replace dev w1 root netem limit 10012 delay 40250us rate 1000000000bit
ip -n a.gw route replace 10.17.0.0/16 via 169.254.1.1 dev w1 onlink proto static table main
ip -6 -n a.gw route replace fd6c:6800:0:2::/64 via fe80::1 dev w1 onlink proto static table main
ip netns exec a.gw ethtool -K w2 gro off
ip -n a.gw neigh replace 169.254.1.1 dev w2 lladdr 02:6c:68:00:00:06 nud permanent
ip -n a.gw neigh replace fe80::1 dev w2 lladdr 02:6c:68:00:00:06 nud permanent
tc -n a.gw qdisc replace dev w2 root netem limit 262144 delay 40500us 2ms rate 8000000000000000000bit
ip -n a.gw route replace 10.18.0.0/16 via 169.254.1.1 dev w2 onlink proto static table main
ip -6 -n a.gw route replace fd6c:6800:0:3::/64 via fe80::1 dev w2 onlink proto static table main
ip netns exec b.gw ethtool -K lan0 tso off gso off tx-udp-segmentation off gro off
ip -n b.gw neigh replace 169.254.1.1 dev lan0 lladdr 02:6c:68:00:00:08 nud permanent
ip -n b.gw neigh replace fe80::1 dev lan0 lladdr 02:6c:68:00:00:08 nud permanent
tc -n b.gw qdisc replace dev lan0 root netem limit 262144 delay 250us
ip -n b.gw link set lan1 up
ip netns exec b.gw ethtool -K lan1 tso off gso off tx-udp-segmentation off gro off
ip -n b.gw neigh replace 169.254.1.1 dev lan1 lladdr 02:6c:68:00:00:07 nud permanent
ip -n b.gw neigh replace fe80::1 dev lan1 lladdr 02:6c:68:00:00:07 nud permanent
ip -n b.gw rule add pref 10 iif lan1 lookup main
ip -n b.gw rule add pref 20 from 10.17.0.0/16 lookup 100
ip -n b.gw route replace 10.17.0.0/16 via 169.254.1.1 dev lan0 onlink proto static table 100
ip -6 -n b.gw rule add pref 10 iif lan1 lookup main
ip -6 -n b.gw rule add pref 20 from fd6c:6800:0:2::/64 lookup 100
ip -6 -n b.gw route replace fd6c:6800:0:2::/64 via fe80::1 dev lan0 onlink proto static table 100
ip -n b.gw link set w0 up
ip netns exec b.gw ethtool -K w0 tso off gso off tx-udp-segmentation off gro off
ip -n b.gw neigh replace 169.254.1.1 dev w0 lladdr 02:6c:68:00:00:03 nud permanent
ip -n b.gw neigh replace fe80::1 dev w0 lladdr 02:6c:68:00:00:03 nud permanent
tc -n b.gw qdisc replace dev w0 root netem limit 262144 delay 40750us loss 0.1%
ip -n b.gw route replace 10.16.0.0/16 via 169.254.1.1 dev w0 onlink proto static table main
ip -6 -n b.gw route replace fd6c:6800:0:1::/64 via fe80::1 dev w0 onlink proto static table main
ip netns exec b.gw ethtool -K w2 tso off gso off tx-udp-segmentation off gro off
ip -n b.gw neigh replace 169.254.1.1 dev w2 lladdr 02:6c:68:00:00:0a nud permanent
ip -n b.gw neigh replace fe80::1 dev w2 lladdr 02:6c:68:00:00:0a nud permanent
tc -n b.gw qdisc replace dev w2 root netem limit 262144 delay 41250us
ip -n b.gw route replace 10.18.0.0/16 via 169.254.1.1 dev w2 onlink proto static table main
ip -6 -n b.gw route replace fd6c:6800:0:3::/64 via fe80::1 dev w2 onlink proto static table main
ip netns exec c.gw ethtool -K lan0 gro off
ip -n c.gw neigh replace 169.254.1.1 dev lan0 lladdr 02:6c:68:00:00:0c nud permanent
ip -n c.gw neigh replace fe80::1 dev lan0 lladdr 02:6c:68:00:00:0c nud permanent
tc -n c.gw qdisc replace dev lan0 root netem limit 262144 delay 250us
ip -n c.gw link set lan1 up
ip netns exec c.gw ethtool -K lan1 gro off
ip -n c.gw neigh replace 169.254.1.1 dev lan1 lladdr 02:6c:68:00:00:0b nud permanent
ip -n c.gw neigh replace fe80::1 dev lan1 lladdr 02:6c:68:00:00:0b nud permanent
ip -n c.gw rule add pref 10 iif lan1 lookup main
ip -n c.gw rule add pref 20 from 10.18.0.0/16 lookup 100
ip -n c.gw route replace 10.18.0.0/16 via 169.254.1.1 dev lan0 onlink proto static table 100
ip -6 -n c.gw rule add pref 10 iif lan1 lookup main
ip -6 -n c.gw rule add pref 20 from fd6c:6800:0:3::/64 lookup 100
ip -6 -n c.gw route replace fd6c:6800:0:3::/64 via fe80::1 dev lan0 onlink proto static table 100
ip -n c.gw link set w0 up
ip netns exec c.gw ethtool -K w0 gro off
ip -n c.gw neigh replace 169.254.1.1 dev w0 lladdr 02:6c:68:00:00:05 nud permanent
ip -n c.gw neigh replace fe80::1 dev w0 lladdr 02:6c:68:00:00:05 nud permanent
tc -n c.gw qdisc replace dev w0 root netem limit 262144 delay 41500us
ip -n c.gw route replace 10.16.0.0/16 via 169.254.1.1 dev w0 onlink proto static table main
ip -6 -n c.gw route replace fd6c:6800:0:1::/64 via fe80::1 dev w0 onlink proto static table main
ip -n c.gw link set w1 up
ip netns exec c.gw ethtool -K w1 gro off
ip -n c.gw neigh replace 169.254.1.1 dev w1 lladdr 02:6c:68:00:00:09 nud permanent
ip -n c.gw neigh replace fe80::1 dev w1 lladdr 02:6c:68:00:00:09 nud permanent
tc -n c.gw qdisc replace dev w1 root netem limit 262144 delay 41750us
ip -n c.gw route replace 10.17.0.0/16 via 169.254.1.1 dev w1 onlink proto static table main
ip -6 -n c.gw route replace fd6c:6800:0:2::/64 via fe80::1 dev w1 onlink proto static table main
ip netns add a-0
ip netns exec a-0 sysctl -qw net/ipv4/tcp_rmem='4096 131072 6291456'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_wmem='4096 16384 4194304'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_slow_start_after_idle='1'
ip netns exec a-0 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec a-0 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n a-0 link set lo up
ip -n a.gw link add p0 up index 6 address 02:6c:68:00:00:0d group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:0e numtxqueues 1 numrxqueues 1 netns a-0
ip -n a-0 link set eth0 up
ip netns exec a-0 ethtool -K eth0 gro off
ip -n a-0 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:0d nud permanent
ip -n a-0 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:0d nud permanent
ip -n a-0 addr add 10.16.0.1/32 dev eth0
ip -n a-0 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main congctl cubic
ip -n a-0 addr add fd6c:6800:0:1::1/128 dev eth0 nodad
ip -6 -n a-0 route replace local fd6c:6800:0:1::1/128 dev eth0 proto static table local
ip -6 -n a-0 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main congctl cubic
ip netns add b-0
ip netns exec b-0 sysctl -qw net/ipv4/tcp_rmem='4096 131072 6291456'
ip netns exec b-0 sysctl -qw net/ipv4/tcp_wmem='4096 16384 4194304'
ip netns exec b-0 sysctl -qw net/ipv4/tcp_slow_start_after_idle='1'
ip netns exec b-0 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec b-0 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n b-0 link set lo up
ip -n b.gw link add p0 up index 6 address 02:6c:68:00:00:0f group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:10 numtxqueues 1 numrxqueues 1 netns b-0
ip -n b-0 link set eth0 up
ip netns exec b-0 ethtool -K eth0 tso off gso off tx-udp-segmentation off gro off
ip -n b-0 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:0f nud permanent
ip -n b-0 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:0f nud permanent
ip -n b-0 addr add 10.17.0.1/32 dev eth0
ip -n b-0 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main congctl cubic
ip -n b-0 addr add fd6c:6800:0:2::1/128 dev eth0 nodad
ip -6 -n b-0 route replace local fd6c:6800:0:2::1/128 dev eth0 proto static table local
ip -6 -n b-0 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main congctl cubic
ip netns add c-0
ip netns exec c-0 sysctl -qw net/ipv4/tcp_rmem='4096 131072 6291456'
ip netns exec c-0 sysctl -qw net/ipv4/tcp_wmem='4096 16384 4194304'
ip netns exec c-0 sysctl -qw net/ipv4/tcp_slow_start_after_idle='1'
ip netns exec c-0 sysctl -qw net/ipv4/tcp_no_metrics_save='1'
ip netns exec c-0 sysctl -qw net/ipv6/conf/default/addr_gen_mode='1'
ip -n c-0 link set lo up
ip -n c.gw link add p0 up index 6 address 02:6c:68:00:00:11 group 1 numtxqueues 1 numrxqueues 1 type veth peer name eth0 index 2 address 02:6c:68:00:00:12 numtxqueues 1 numrxqueues 1 netns c-0
ip -n c-0 link set eth0 up
ip netns exec c-0 ethtool -K eth0 gro off
ip -n c-0 neigh replace 169.254.1.1 dev eth0 lladdr 02:6c:68:00:00:11 nud permanent
ip -n c-0 neigh replace fe80::1 dev eth0 lladdr 02:6c:68:00:00:11 nud permanent
ip -n c-0 addr add 10.18.0.1/32 dev eth0
ip -n c-0 route replace 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink proto static table main congctl cubic
ip -n c-0 addr add fd6c:6800:0:3::1/128 dev eth0 nodad
ip -6 -n c-0 route replace local fd6c:6800:0:3::1/128 dev eth0 proto static table local
ip -6 -n c-0 route replace ::/0 via fe80::1 dev eth0 onlink proto static table main congctl cubic
ip netns exec a.gw ethtool -K p0 gro off
ip -n a.gw neigh replace 169.254.1.1 dev p0 lladdr 02:6c:68:00:00:0e nud permanent
ip -n a.gw neigh replace fe80::1 dev p0 lladdr 02:6c:68:00:00:0e nud permanent
ip -n a.gw route replace 10.16.0.1/32 via 169.254.1.1 dev p0 onlink proto static table main
ip -6 -n a.gw route replace fd6c:6800:0:1::1/128 via fe80::1 dev p0 onlink proto static table main
ip -n a.gw link show up
ip netns exec b.gw ethtool -K p0 tso off gso off tx-udp-segmentation off gro off
ip -n b.gw neigh replace 169.254.1.1 dev p0 lladdr 02:6c:68:00:00:10 nud permanent
ip -n b.gw neigh replace fe80::1 dev p0 lladdr 02:6c:68:00:00:10 nud permanent
ip -n b.gw route replace 10.17.0.1/32 via 169.254.1.1 dev p0 onlink proto static table main
ip -6 -n b.gw route replace fd6c:6800:0:2::1/128 via fe80::1 dev p0 onlink proto static table main
ip -n b.gw link show up
ip netns exec c.gw ethtool -K p0 gro off
ip -n c.gw neigh replace 169.254.1.1 dev p0 lladdr 02:6c:68:00:00:12 nud permanent
ip -n c.gw neigh replace fe80::1 dev p0 lladdr 02:6c:68:00:00:12 nud permanent
ip -n c.gw route replace 10.18.0.1/32 via 169.254.1.1 dev p0 onlink proto static table main
ip -6 -n c.gw route replace fd6c:6800:0:3::1/128 via fe80::1 dev p0 onlink proto static table main
ip -n c.gw link show up
