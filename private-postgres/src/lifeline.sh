# Ends the server when its owner ends.
#
# Standard input is a pipe that only the owner can write to. Each line contains the process id of
# the running server, or "-" for none. When the owner ends in any way, the kernel closes the pipe
# and the loop ends.
server=-
while read -r line; do server=$line; done
[ "$server" = - ] && exit 0

kill -INT "$server" 2>/dev/null
seconds=0
while kill -0 "$server" 2>/dev/null; do
    [ "$seconds" = 30 ] && kill -QUIT "$server"
    [ "$seconds" = 60 ] && exit 1
    seconds=$((seconds + 1))
    sleep 1
done
