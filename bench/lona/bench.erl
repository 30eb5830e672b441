%% SPDX-License-Identifier: Apache-2.0
%% The OTP side of the comparison; the same programs as bench.lona, in the same order.
%%   erl -noshell +P 4000000 -pa DIR -run bench main NAME NUMBERS... -run init stop
-module(bench).
-export([main/1, echo/0, ring_member/1, skynet_node/3, busy_neighbour/0, idle/0]).

main([Name | Args]) ->
    [A, B | _] = [list_to_integer(X) || X <- Args] ++ [0, 0],
    {P, M} = spawn_monitor(fun() -> run(Name, A, B) end),
    receive
        {'DOWN', M, process, P, normal} -> halt(0);
        {'DOWN', M, process, P, Why} -> io:format(standard_error, "~p~n", [Why]), halt(1)
    end.

report(Name, Value) -> io:format("~s\t~.6f~n", [Name, Value * 1.0]).

now_ns() -> erlang:monotonic_time(nanosecond).

timed(F) ->
    Before = now_ns(),
    F(),
    now_ns() - Before.

wait_for(0, _) -> ok;
wait_for(N, What) -> receive What -> wait_for(N - 1, What) end.

repeat_call(0, _) -> ok;
repeat_call(N, F) -> F(), repeat_call(N - 1, F).

%% ---- processes ----

spawn_exit(0) -> ok;
spawn_exit(N) ->
    {_, R} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', R, _, _, _} -> spawn_exit(N - 1) end.

spawn_many(0, _) -> ok;
spawn_many(N, To) -> spawn(fun() -> To ! 1 end), spawn_many(N - 1, To).

spawn_bulk(N) ->
    Me = self(),
    C = spawn(fun() -> wait_for(N, 1), Me ! done end),
    spawn_many(N, C),
    receive done -> ok end.

resident() ->
    {ok, Bytes} = file:read_file("/proc/self/statm"),
    [_, R | _] = string:lexemes(binary_to_list(Bytes), " "),
    4096 * list_to_integer(R).

idle() -> receive stop -> ok end.

idle_memory(N) ->
    erlang:garbage_collect(),
    Before = resident(),
    All = [spawn(fun idle/0) || _ <- lists:seq(1, N)],
    timer:sleep(300),
    After = resident(),
    [P ! stop || P <- All],
    (After - Before - 16 * N) div N.

echo() ->
    receive
        {From, X} -> From ! X, echo();
        stop -> ok
    end.

ping(_, _, 0) -> ok;
ping(P, Me, N) -> P ! {Me, ping}, receive ping -> ping(P, Me, N - 1) end.

ping_pong(N) ->
    P = spawn(?MODULE, echo, []),
    ping(P, self(), N),
    P ! stop.

ring_member(Next) ->
    receive
        stop -> Next ! stop;
        Token -> Next ! Token, ring_member(Next)
    end.

ring_build(1, Next) -> Next;
ring_build(Size, Next) -> ring_build(Size - 1, spawn(?MODULE, ring_member, [Next])).

ring_laps(_, 0) -> ok;
ring_laps(P, N) -> P ! token, receive token -> ring_laps(P, N - 1) end.

ring(Size, Laps) ->
    P = ring_build(Size, self()),
    ring_laps(P, Laps),
    P ! stop,
    receive stop -> ok end.

add_replies(0, Acc) -> Acc;
add_replies(N, Acc) -> receive X -> add_replies(N - 1, Acc + X) end.

skynet_children(_, _, _, 0) -> ok;
skynet_children(Parent, First, Part, N) ->
    spawn(?MODULE, skynet_node, [Parent, First, Part]),
    skynet_children(Parent, First + Part, Part, N - 1).

skynet_node(Parent, First, 1) -> Parent ! First;
skynet_node(Parent, First, Size) ->
    Part = Size div 10,
    skynet_children(self(), First, Part, 10),
    Parent ! add_replies(10, 0).

skynet(N) ->
    Expected = N * (N - 1) div 2,
    spawn(?MODULE, skynet_node, [self(), 0, N]),
    receive Expected -> ok end.

fill_mailbox(0) -> ok;
fill_mailbox(N) -> self() ! {junk, N}, fill_mailbox(N - 1).

selective(0) -> ok;
selective(N) ->
    self() ! {wanted, N},
    receive {wanted, N} -> selective(N - 1) end.

send_many(_, 0) -> ok;
send_many(To, N) -> To ! 1, send_many(To, N - 1).

fan_in(Senders, N) ->
    Me = self(),
    repeat_call(Senders, fun() -> spawn(fun() -> send_many(Me, N) end) end),
    wait_for(Senders * N, 1).

%% ---- sequential code ----

fib(N) when N < 2 -> N;
fib(N) -> fib(N - 1) + fib(N - 2).

tree(0) -> {nil, nil};
tree(Depth) -> {tree(Depth - 1), tree(Depth - 1)}.

check({nil, _}) -> 1;
check({Left, Right}) -> 1 + check(Left) + check(Right).

check_trees(0, _, Acc) -> Acc;
check_trees(N, Depth, Acc) -> check_trees(N - 1, Depth, Acc + check(tree(Depth))).

tree_depths(Depth, Max) when Depth > Max -> ok;
tree_depths(Depth, Max) ->
    check_trees(1 bsl (Max - Depth + 4), Depth, 0),
    tree_depths(Depth + 2, Max).

binary_trees(Max) ->
    check(tree(Max + 1)),
    LongLived = tree(Max),
    tree_depths(4, Max),
    check(LongLived).

bodies() ->
    [{0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 39.47841760435743},
     {4.84143144246472090, -1.16032004402742839, -0.103622044471123109,
      0.606326392995832, 2.81198684491626, -0.02521836165988763, 0.03769367487038949},
     {8.34336671824457987, 4.12479856412430479, -0.403523417114321381,
      -1.01077434617879, 1.825662371230412, 0.008415761376584154, 0.011286326131968767},
     {12.8943695621391310, -15.1111514016986312, -0.223307578892655734,
      1.082791006441535, 0.868713018169608, -0.010832637401363636, 0.0017237240570597112},
     {15.3796971148509165, -25.9193146099879641, 0.179258772950371181,
      0.979090732243898, 0.5946989986476762, -0.034755955504078104, 0.0020336868699246304}].

pull(_, _, _, [], Ax, Ay, Az) -> {Ax, Ay, Az};
pull(X, Y, Z, [{Ox, Oy, Oz, _, _, _, Mass} | More], Ax, Ay, Az) ->
    Dx = X - Ox, Dy = Y - Oy, Dz = Z - Oz,
    Square = Dx * Dx + Dy * Dy + Dz * Dz,
    if Square == 0.0 -> pull(X, Y, Z, More, Ax, Ay, Az);
       true ->
           F = 0.01 * Mass / (Square * math:sqrt(Square)),
           pull(X, Y, Z, More, Ax - Dx * F, Ay - Dy * F, Az - Dz * F)
    end.

move([], _, Acc) -> lists:reverse(Acc);
move([{X, Y, Z, Vx, Vy, Vz, Mass} | More], All, Acc) ->
    {Ax, Ay, Az} = pull(X, Y, Z, All, Vx, Vy, Vz),
    move(More, All, [{X + 0.01 * Ax, Y + 0.01 * Ay, Z + 0.01 * Az, Ax, Ay, Az, Mass} | Acc]).

nbody(0, State) -> State;
nbody(N, State) -> nbody(N - 1, move(State, State, [])).

text_of(0, Acc) -> iolist_to_binary(Acc);
text_of(N, Acc) -> text_of(N - 1, [["word", integer_to_list(N * 7919 rem 1000), " "] | Acc]).

double_up(B, 0) -> B;
double_up(B, N) -> double_up(<<B/binary, B/binary>>, N - 1).

count_words(_, Size, _, Size, Counts) -> Counts;
count_words(B, Size, Start, At, Counts) ->
    case binary:at(B, At) of
        32 ->
            Word = binary:part(B, Start, At - Start),
            count_words(B, Size, At + 1, At + 1, Counts#{Word => maps:get(Word, Counts, 0) + 1});
        _ -> count_words(B, Size, Start, At + 1, Counts)
    end.

fill_map(0, M) -> M;
fill_map(N, M) -> fill_map(N - 1, M#{(N * 7919) band 16#FFFFFF => N}).

read_map(0, _, Acc) -> Acc;
read_map(N, M, Acc) -> read_map(N - 1, M, Acc + maps:get((N * 7919) band 16#FFFFFF, M)).

%% ---- pauses ----

hoard(0, Acc) -> Acc;
hoard(N, Acc) -> hoard(N - 1, [{N, N, N, N} | Acc]).
busy_neighbour() -> hoard(1000000, []), busy_neighbour().

longest_gap(Until, Last, Longest) ->
    Now = now_ns(),
    Max = max(Now - Last, Longest),
    if Now > Until -> Max;
       true -> longest_gap(Until, Now, Max)
    end.

pause(Ms) ->
    P = spawn(?MODULE, busy_neighbour, []),
    Now = now_ns(),
    Gap = longest_gap(Now + Ms * 1000000, Now, 0),
    exit(P, kill),
    Gap.

parallel(N, F) ->
    Me = self(),
    repeat_call(N, fun() -> spawn(fun() -> F(), Me ! done end) end),
    wait_for(N, done).

run("spawn", N, _) -> report("spawn+exit ns", timed(fun() -> spawn_exit(N) end) / N);
run("bulk", N, _) -> report("spawn+send+exit ns", timed(fun() -> spawn_bulk(N) end) / N);
run("idle", N, _) -> report("idle process bytes", idle_memory(N));
run("pingpong", N, _) -> report("ping-pong round trip ns", timed(fun() -> ping_pong(N) end) / N);
run("ring", A, B) -> report("ring hop ns", timed(fun() -> ring(A, B) end) / (A * B));
run("skynet", N, _) -> report("skynet ms", timed(fun() -> skynet(N) end) / 1.0e6);
run("selective", A, B) ->
    fill_mailbox(A),
    report("selective receive us", timed(fun() -> selective(B) end) / (B * 1000));
run("fanin", A, B) -> report("4 senders, message ns", timed(fun() -> fan_in(A, B) end) / (A * B));
run("fib", N, _) -> report("fib ms", timed(fun() -> fib(N) end) / 1.0e6);
run("trees", N, _) -> report("binary-trees ms", timed(fun() -> binary_trees(N) end) / 1.0e6);
run("nbody", N, _) -> report("nbody step ns", timed(fun() -> nbody(N, bodies()) end) / N);
run("words", N, _) ->
    Text = double_up(text_of(1000, []), N),
    T = timed(fun() -> count_words(Text, byte_size(Text), 0, 0, #{}) end),
    report("word count, byte ns", T / byte_size(Text));
run("map", N, _) ->
    M = fill_map(N, #{}),
    report("map put ns", timed(fun() -> fill_map(N, #{}) end) / N),
    report("map get ns", timed(fun() -> read_map(N, M, 0) end) / N);
run("pause", Ms, _) -> report("longest pause ms", pause(Ms) / 1.0e6);
run("parfib", N, _) ->
    report("2 x fib ms, " ++ os:getenv("BENCH_WORKERS") ++ " workers",
           timed(fun() -> parallel(2, fun() -> fib(N) end) end) / 1.0e6).
