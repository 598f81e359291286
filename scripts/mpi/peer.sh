#!/bin/sh
# Run by `longhaul exec --all`: every peer serves; peer 0 runs mpirun over them, then ends the others.
# peer.sh DIR PROGRAM ARGUMENT...      DIR: this folder
dir=$1; shift
if [ "$LONGHAUL_RANK" != 0 ]; then
	exec python3 "$dir/agent.py" serve
fi
hosts=$(echo "$LONGHAUL_ADDRESSES" | tr , '\n' | sed 's/$/:1/' | paste -sd,)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for name in tcp_rmem tcp_wmem tcp_congestion_control tcp_slow_start_after_idle tcp_no_metrics_save; do
	[ -r /proc/sys/net/ipv4/$name ] && echo "SETTING $name = $(cat /proc/sys/net/ipv4/$name)"
done
echo "SETTING mpirun --mca btl tcp,self --mca pml ob1 $LONGHAUL_BENCH_MCA, everything else by default"
sleep 1
mpirun --host "$hosts" --mca plm_rsh_agent "python3 $dir/agent.py" --mca plm rsh --mca plm_rsh_no_tree_spawn 1 \
	--mca btl tcp,self --mca pml ob1 --mca orte_keep_fqdn_hostnames 1 \
	--mca btl_tcp_if_include "$GLOO_SOCKET_IFNAME" --mca oob_tcp_if_include "$GLOO_SOCKET_IFNAME" \
	$LONGHAUL_BENCH_MCA --bind-to none "$@"
status=$?
for host in $(echo "$LONGHAUL_ADDRESSES" | tr , ' '); do
	[ "$host" = "$LONGHAUL_ADDRESS" ] || python3 "$dir/agent.py" "$host" quit
done
exit $status
