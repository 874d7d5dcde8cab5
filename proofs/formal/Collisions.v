(** * Structural collisions: docs/theory.md, "Structural collisions"

    Each theorem holds for every value of the parameters, as the functions in a [layer] are arbitrary. *)

From mathcomp Require Import all_ssreflect ssralg ssrnum rat zify.
From Sipit Require Import Network.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section AnyRing.

Variables (F : ringType) (U : lmodType F) (X Token : Type) (x0 : X) (a0 : Token) (embed : nat -> Token -> X).

Local Notation layer := (layer U X).
Local Notation states := (states x0 a0 embed).
Local Notation last_state := (last_state x0 a0 embed).
Local Notation run := (run x0).
Local Notation apply := (apply x0).
Local Notation embedded := (embedded a0 embed).

(** ** Repeated tokens (docs/theory.md, "Repeated tokens") *)

Lemma apply_equal_rows (L : layer) x : rows_sum_to_one L -> position_free L ->
  exists y, forall m, apply L (nseq m x) = nseq m y.
Proof.
move=> sum1 [valueP combineP]; exists (combine L 0 x [ffun h => value L h 0 x]) => m.
apply: (@eq_from_nth _ x0) => [|i]; rewrite size_apply !size_nseq // => lt_i.
rewrite nth_apply ?size_nseq // !nth_nseq lt_i (combineP i 0%N); congr (combine _ _ _ _).
apply/ffunP => h; rewrite !ffunE /mixture -[RHS]scale1r -(sum1 h (nseq m x) i) ?size_nseq // scaler_suml.
by apply: eq_bigr => j _; rewrite nth_nseq ltn_ord (valueP h j 0%N).
Qed.

(** For every token [a] there is one state [y] such that for all [m] every position of a^m carries [y]: at any depth,
    after any initial part of the layers, for weights that depend arbitrarily on all states, on both positions and on
    the length.  RoPE, ALiBi, T5 bias, no positions, windows: instances of [weight]. *)
Theorem repeated_tokens (layers : seq layer) a :
  all_layers rows_sum_to_one layers -> all_layers position_free layers ->
  position_free_embedding embed ->
  exists y, forall m, states layers (nseq m a) = nseq m y.
Proof.
move=> sum1 free embedP.
have -> : states layers = fun s => run layers (embedded s) by [].
have start m : embedded (nseq m a) = nseq m (embed 0 a).
  apply: (@eq_from_nth _ x0) => [|i]; rewrite size_mkseq !size_nseq // => lt_i.
  by rewrite nth_mkseq ?size_nseq // !nth_nseq lt_i (embedP i 0%N).
suff [y yP] : exists y, forall m, run layers (nseq m (embed 0 a)) = nseq m y by exists y => m; rewrite start.
elim: layers (embed 0 a) sum1 free {start} => [|L layers IH] x; first by exists x.
move=> [sum1 sums] [free frees]; have [y yP] := apply_equal_rows x sum1 free.
by have [z zP] := IH y sums frees; exists z => m; rewrite /= yP zP.
Qed.

(** r(a^m) = r(a^k) for all m, k >= 1. *)
Corollary repeated_tokens_last (layers : seq layer) a m k :
  all_layers rows_sum_to_one layers -> all_layers position_free layers ->
  position_free_embedding embed -> (0 < m)%N -> (0 < k)%N ->
  last_state layers (nseq m a) = last_state layers (nseq k a).
Proof.
move=> sum1 free embedP; have [y yP] := repeated_tokens a sum1 free embedP.
case: m k => [//|m] [//|k] _ _; rewrite /last_state !yP.
suff H n : last x0 (nseq n.+1 y) = y by rewrite !H.
by rewrite -nth_last size_nseq nth_nseq ltnSn.
Qed.

(** All positions of a^m and of a^k agree. *)
Corollary repeated_tokens_everywhere (layers : seq layer) a m k i j :
  all_layers rows_sum_to_one layers -> all_layers position_free layers ->
  position_free_embedding embed -> (i < m)%N -> (j < k)%N ->
  nth x0 (states layers (nseq m a)) i = nth x0 (states layers (nseq k a)) j.
Proof.
move=> sum1 free embedP lt_i lt_j; have [y yP] := repeated_tokens a sum1 free embedP.
by rewrite !yP !nth_nseq lt_i lt_j.
Qed.

(** ** Causality: later tokens do not move earlier states (arXiv 2510.15511, what Theorem 3.1 rests on) *)

Lemma nth_of_take T (z : T) (xs ys : seq T) k i : take k xs = take k ys -> (i < k)%N -> nth z xs i = nth z ys i.
Proof. by move=> eq_take lt_i; rewrite -(nth_take z lt_i xs) eq_take nth_take. Qed.

Lemma take_le T (xs ys : seq T) k i : (i <= k)%N -> take k xs = take k ys -> take i xs = take i ys.
Proof. by move=> le_ik eq_take; rewrite -(take_take le_ik xs) eq_take take_take. Qed.

Lemma apply_causal (L : layer) xs ys i : causal L -> (i < size xs)%N -> (i < size ys)%N ->
  take i.+1 xs = take i.+1 ys -> nth x0 (apply L xs) i = nth x0 (apply L ys) i.
Proof.
move=> causalL lt_x lt_y eq_take; rewrite !nth_apply // (nth_of_take x0 eq_take (ltnSn i)); congr (combine _ _ _ _).
apply/ffunP => h; rewrite !ffunE /mixture.
have cut zs : (i < size zs)%N -> take i.+1 zs = take i.+1 xs ->
    \sum_(j < size zs) weight L h zs i j *: value L h j (nth x0 zs j) =
    \sum_(j < i.+1) weight L h xs i j *: value L h j (nth x0 xs j).
  move=> lt_z eq_z; pose G j := weight L h zs i j *: value L h j (nth x0 zs j).
  rewrite (sum_cut (G := G) lt_z) => [|j /andP[lt_ij _]]; last first.
    by rewrite /G; have [_ ->] := causalL h zs xs i j lt_z lt_x eq_z; rewrite ?scale0r.
  apply: eq_bigr => j _; rewrite /G (nth_of_take x0 eq_z (ltn_ord j)).
  by have [-> _] := causalL h zs xs i j lt_z lt_x eq_z.
by rewrite !cut.
Qed.

Lemma take_from_nth T (z : T) (xs ys : seq T) k : (k <= size xs)%N -> (k <= size ys)%N ->
  (forall i, (i < k)%N -> nth z xs i = nth z ys i) -> take k xs = take k ys.
Proof.
move=> le_x le_y eq_nth; apply: (@eq_from_nth _ z) => [|i]; first by rewrite !size_takel.
by rewrite size_takel // => lt_i; rewrite !nth_take // eq_nth.
Qed.

Lemma run_causal (layers : seq layer) xs ys k : all_layers causal layers ->
  (k <= size xs)%N -> (k <= size ys)%N -> take k xs = take k ys ->
  take k (run layers xs) = take k (run layers ys).
Proof.
elim: layers xs ys => //= L layers IH xs ys [causalL causals] le_x le_y eq_take.
apply: IH => //; rewrite ?size_apply //.
apply: (@take_from_nth _ x0) => [||i lt_i]; rewrite ?size_apply //.
apply: apply_causal => //; rewrite ?(leq_trans lt_i) //; exact: take_le eq_take.
Qed.

(** If two prompts agree on their first [k] tokens, so do the states of these [k] positions, at every layer; absolute
    positions allowed. *)
Theorem causality (layers : seq layer) s t k : all_layers causal layers ->
  (k <= size s)%N -> (k <= size t)%N -> take k s = take k t ->
  take k (states layers s) = take k (states layers t).
Proof.
move=> causals le_s le_t eq_take; apply: run_causal => //; rewrite ?size_mkseq //.
apply: (@take_from_nth _ x0) => [||i lt_i]; rewrite ?size_mkseq // !nth_mkseq ?(leq_trans lt_i) //.
by rewrite (nth_of_take a0 eq_take lt_i).
Qed.

(** The state at position [i] is the last state of the prompt cut behind [i]: F(s_i; s_1..s_(i-1), i) of the paper. *)
Corollary state_is_last_of_prefix (layers : seq layer) s i : all_layers causal layers -> (i < size s)%N ->
  nth x0 (states layers s) i = last_state layers (rcons (take i s) (nth a0 s i)).
Proof.
move=> causals lt_i; rewrite -(take_nth a0 lt_i) last_state_nth size_takel //=.
apply: (@nth_of_take _ _ _ _ i.+1) => //; apply: causality => //; rewrite ?size_takel //.
by rewrite take_take.
Qed.

(** Every continuation of [s] has the states of [s] at the positions of [s]. *)
Corollary continuation_keeps_states (layers : seq layer) s t : all_layers causal layers ->
  take (size s) (states layers (s ++ t)) = states layers s.
Proof.
move=> causals; rewrite (causality (t := s) causals) ?size_cat ?leq_addr // ?take_size ?take_size_cat //.
by rewrite take_oversize // size_states.
Qed.

(** ** Window reach (docs/theory.md and docs/generic-position.md, "Window reach") *)

(** Position [i] takes something only from positions i-W+1 .. i, by weights that depend on the states there (and on
    [i], [j] and the length). *)
Definition windowed W (L : layer) : Prop :=
  (forall h xs i j, (i < size xs)%N -> ~~ (j <= i < j + W)%N -> weight L h xs i j = 0) /\
  (forall h xs ys i j, size xs = size ys -> (i < size xs)%N ->
    (forall k, (k <= i < k + W)%N -> nth x0 xs k = nth x0 ys k) -> weight L h xs i j = weight L h ys i j).

(** How far back a stack of [l] layers sees, the position itself included. *)
Definition reach W l : nat := (l * (W - 1) + 1)%N.

Lemma reach_step W l k k' i : (k <= i < k + reach W l)%N -> (k' <= k < k' + W)%N -> (k' <= i < k' + reach W l.+1)%N.
Proof. by rewrite /reach mulSn; set n := (l * _)%N; lia. Qed.

(** Equal lengths (absolute positions allowed): the state at [i] depends on the tokens at i - l(W-1) .. i only. *)
Theorem window_reach (layers : seq layer) W s t i : all_layers (windowed W) layers -> size s = size t ->
  (i < size s)%N ->
  (forall k, (k <= i < k + reach W (size layers))%N -> nth a0 s k = nth a0 t k) ->
  nth x0 (states layers s) i = nth x0 (states layers t) i.
Proof.
move=> windows eq_size lt_i eq_tok.
have start k : (k <= i < k + reach W (size layers))%N -> nth x0 (embedded s) k = nth x0 (embedded t) k.
  move=> in_k; have lt_k : (k < size s)%N by case/andP: in_k => /leq_ltn_trans->.
  by rewrite !nth_embedded -?eq_size // eq_tok.
have: size (embedded s) = size (embedded t) by rewrite !size_mkseq.
have: (i < size (embedded s))%N by rewrite size_mkseq.
rewrite /states; elim: layers windows (embedded s) (embedded t) start {eq_tok} => [|L layers IH] /=.
  by move=> _ xs ys eq_x _ _; apply: eq_x; rewrite leqnn /reach mul0n add0n addn1 ltnSn.
move=> [[zero local] windows] xs ys eq_x lt_x eq_xy; apply: IH; rewrite ?size_apply //.
move=> k in_k; have lt_k : (k < size xs)%N by case/andP: in_k => /leq_ltn_trans->.
have eq_near k' : (k' <= k < k' + W)%N -> nth x0 xs k' = nth x0 ys k'.
  by move=> in_k'; apply: eq_x; apply: reach_step in_k in_k'.
have eq_k : nth x0 xs k = nth x0 ys k.
  apply: eq_x; case/andP: in_k => le_ki lt_ik; rewrite le_ki (leq_trans lt_ik) // leq_add2l.
  by rewrite /reach leq_add2r leq_mul2r leqnSn orbT.
rewrite !nth_apply -?eq_xy // eq_k; congr (combine _ _ _ _); apply/ffunP => h; rewrite !ffunE /mixture -eq_xy.
apply: eq_bigr => j _; have [in_j|out_j] := boolP (j <= k < j + W)%N; last by rewrite !zero -?eq_xy // !scale0r.
by rewrite (local h xs ys) // eq_near.
Qed.

(** For different lengths it is NOT enough that positions enter through weights only (see
    [window_reach_needs_translation] below): the weights inside full windows must be the same wherever the window
    stands, for every prompt length. *)
Definition translation_invariant W (L : layer) : Prop :=
  forall h xs ys i i', (i < size xs)%N -> (i' < size ys)%N -> (W <= i.+1)%N -> (W <= i'.+1)%N ->
    (forall d, (d < W)%N -> nth x0 xs (i - d) = nth x0 ys (i' - d)) ->
    forall d, (d < W)%N -> weight L h xs i (i - d) = weight L h ys i' (i' - d).

Lemma window_sum (G : nat -> U) n k W : (W <= k.+1)%N -> (k < n)%N -> (forall j, ~~ (j <= k < j + W)%N -> G j = 0) ->
  \sum_(j < n) G j = \sum_(d < W) G (k - d)%N.
Proof.
move=> le_W lt_k zero; rewrite (sum_cut (G := G) lt_k) => [|j /andP[lt_kj _]]; last by apply: zero; lia.
rewrite (reindex_inj rev_ord_inj) /=.
under eq_bigr do rewrite subSS.
by rewrite (sum_cut (G := fun d => G (k - d)%N) le_W) // => d /andP[le_Wd lt_dk]; apply: zero; lia.
Qed.

(** Different lengths >= the reach: equal last tokens give equal last states. *)
Theorem window_reach_any_length (layers : seq layer) W s t : (0 < W)%N ->
  all_layers (fun L => [/\ windowed W L, translation_invariant W L & position_free L]) layers ->
  position_free_embedding embed ->
  (reach W (size layers) <= size s)%N -> (reach W (size layers) <= size t)%N ->
  (forall d, (d < reach W (size layers))%N -> nth a0 s (size s - 1 - d) = nth a0 t (size t - 1 - d)) ->
  last_state layers s = last_state layers t.
Proof.
move=> W0 hyps embedP le_s le_t eq_tok; rewrite !last_state_nth -!subn1.
have R0 l : (0 < reach W l)%N by rewrite /reach addn1.
have start d : (d < reach W (size layers))%N ->
    nth x0 (embedded s) (size s - 1 - d) = nth x0 (embedded t) (size t - 1 - d).
  move=> lt_d; have [lt_s lt_t] : (size s - 1 - d < size s)%N /\ (size t - 1 - d < size t)%N.
    by have := R0 (size layers); lia.
  by rewrite !nth_embedded // eq_tok // (embedP _ (size t - 1 - d)%N).
have lt_s : (size s - 1 < size (embedded s))%N by rewrite size_mkseq; have := R0 (size layers); lia.
have lt_t : (size t - 1 < size (embedded t))%N by rewrite size_mkseq; have := R0 (size layers); lia.
have {}le_s : (reach W (size layers) <= (size s - 1).+1)%N by lia.
have {}le_t : (reach W (size layers) <= (size t - 1).+1)%N by lia.
rewrite /states; move: (embedded s) (embedded t) (size s - 1)%N (size t - 1)%N start lt_s lt_t le_s le_t.
elim: layers hyps {eq_tok} => [|L layers IH] /=.
  by move=> _ xs ys i i' eq_x _ _ _ _; have := eq_x 0%N; rewrite !subn0; apply; exact: R0.
move=> [[[zero local] shift [valueP combineP]] hyps] xs ys i i' eq_x lt_x lt_y le_x le_y.
have RS : reach W (size layers).+1 = (W - 1 + reach W (size layers))%N by rewrite /reach mulSn addnA.
rewrite RS in eq_x le_x le_y; have R1 := R0 (size layers).
apply: IH => //; rewrite ?size_apply //; [|by move: le_x; lia|by move: le_y; lia].
move=> d lt_d; have [le_k le_k'] : (W <= (i - d).+1)%N /\ (W <= (i' - d).+1)%N by lia.
have [lt_k lt_k'] : (i - d < size xs)%N /\ (i' - d < size ys)%N by lia.
have near e : (e < W)%N -> nth x0 xs (i - d - e) = nth x0 ys (i' - d - e).
  by move=> lt_e; rewrite -!subnDA; apply: eq_x; lia.
rewrite !nth_apply //; have := near 0%N W0; rewrite !subn0 => ->.
rewrite (combineP _ (i' - d)%N); congr (combine _ _ _ _); apply/ffunP => h; rewrite !ffunE /mixture.
rewrite (window_sum (G := fun j => weight L h xs (i - d) j *: value L h j (nth x0 xs j)) le_k lt_k); last first.
  by move=> j out; rewrite zero ?scale0r.
rewrite (window_sum (G := fun j => weight L h ys (i' - d) j *: value L h j (nth x0 ys j)) le_k' lt_k'); last first.
  by move=> j out; rewrite zero ?scale0r.
by apply: eq_bigr => e _; rewrite (shift h xs ys _ (i' - d)%N) // near // (valueP h _ (i' - d - e)%N).
Qed.

(** ** Long runs under windows ([sipit.collisions.known.Families.key])

    Where every layer sees [w] tokens back, a^m s and a^k s have the same states on s for all m, k >= w, at any depth. *)
Theorem long_runs (layers : seq layer) w a m k u :
  all_layers (fun L => [/\ windowed w.+1 L, translation_invariant w.+1 L, rows_sum_to_one L & position_free L]) layers ->
  position_free_embedding embed -> (w <= m)%N -> (w <= k)%N ->
  drop m (states layers (nseq m a ++ u)) = drop k (states layers (nseq k a ++ u)).
Proof.
move=> hyps embedP le_m le_k.
pose tail := map (embed 0) u.
have start n : embedded (nseq n a ++ u) = nseq n (embed 0 a) ++ tail.
  apply: (@eq_from_nth _ x0) => [|i]; rewrite size_mkseq !size_cat ?size_map ?size_nseq // => lt_i.
  rewrite nth_embedded ?size_cat ?size_nseq // !nth_cat !size_nseq (embedP i 0%N).
  by case: ltnP => le; rewrite ?nth_nseq ?le // (nth_map a0) // -(ltn_add2l n) subnKC.
rewrite /states !start; move: (embed 0 a) tail {start} => x us.
elim: layers hyps x us => [|L layers IH] /=.
  by move=> _ x us; rewrite /run /= !drop_size_cat ?size_nseq.
move=> [[[zero local] shift sum1 [valueP combineP]] hyps] x us.
pose y := combine L 0 x [ffun h => value L h 0 x].
have on_run n : take n (apply L (nseq n x ++ us)) = nseq n y.
  have sz : size (nseq n x ++ us) = (n + size us)%N by rewrite size_cat size_nseq.
  apply: (@eq_from_nth _ x0) => [|i]; rewrite size_takel ?size_apply ?sz ?size_nseq ?leq_addr // => lt_i.
  have lt_s : (i < size (nseq n x ++ us))%N by rewrite sz; lia.
  rewrite nth_take // nth_apply // nth_nseq lt_i nth_cat size_nseq lt_i nth_nseq lt_i (combineP i 0%N).
  congr (combine _ _ _ _); apply/ffunP => h; rewrite !ffunE /mixture -[RHS]scale1r -(sum1 h _ i lt_s) scaler_suml.
  apply: eq_bigr => j _; have [in_j|out] := boolP (j <= i < j + w.+1)%N; last by rewrite zero ?scale0r.
  rewrite nth_cat size_nseq; have lt_j : (j < n)%N by lia.
  by rewrite lt_j nth_nseq lt_j (valueP h j 0%N).
have behind n n' : (w <= n)%N -> (w <= n')%N -> drop n (apply L (nseq n x ++ us)) = drop n' (apply L (nseq n' x ++ us)).
  move=> le_n le_n'; have sz p : size (nseq p x ++ us) = (p + size us)%N by rewrite size_cat size_nseq.
  apply: (@eq_from_nth _ x0) => [|i]; rewrite !size_drop !size_apply !sz !addKn // => lt_i.
  have [lt_n lt_n'] : (n + i < size (nseq n x ++ us))%N /\ (n' + i < size (nseq n' x ++ us))%N by rewrite !sz !ltn_add2l.
  have near e : (e < w.+1)%N -> nth x0 (nseq n x ++ us) (n + i - e) = nth x0 (nseq n' x ++ us) (n' + i - e).
    move=> lt_e; rewrite !nth_cat !size_nseq !nth_nseq; have [le|gt] := leqP e i.
      have [-> ->] : (n + i - e < n)%N = false /\ (n' + i - e < n')%N = false by lia.
      by congr nth; lia.
    by have [-> ->] : (n + i - e < n)%N /\ (n' + i - e < n')%N by lia.
  rewrite !nth_drop !nth_apply //; have := near 0%N isT; rewrite !subn0 => ->.
  have [le_W le_W'] : (w.+1 <= (n + i).+1)%N /\ (w.+1 <= (n' + i).+1)%N by lia.
  rewrite (combineP _ (n' + i)%N); congr (combine _ _ _ _); apply/ffunP => h; rewrite !ffunE /mixture.
  rewrite (window_sum (G := fun j => weight L h (nseq n x ++ us) (n + i) j *:
    value L h j (nth x0 (nseq n x ++ us) j)) le_W lt_n) => [|j out]; last by rewrite zero ?scale0r.
  rewrite (window_sum (G := fun j => weight L h (nseq n' x ++ us) (n' + i) j *:
    value L h j (nth x0 (nseq n' x ++ us) j)) le_W' lt_n') => [|j out]; last by rewrite zero ?scale0r.
  by apply: eq_bigr => e _; rewrite (shift h _ (nseq n' x ++ us) _ (n' + i)%N) // near // (valueP h _ (n' + i - e)%N).
have split n : (w <= n)%N -> apply L (nseq n x ++ us) = nseq n y ++ drop m (apply L (nseq m x ++ us)).
  by move=> le_n; rewrite (behind m n) // -on_run cat_take_drop.
by rewrite (split m) // (split k) //; exact: IH.
Qed.

(** ** Equal embedding rows (docs/theory.md, "Equal embedding rows") *)

(** Replacing tokens by tokens with the same rows changes no state at any position or layer. *)
Theorem equal_rows (layers : seq layer) s t : size s = size t ->
  (forall i, (i < size s)%N -> embed i (nth a0 s i) = embed i (nth a0 t i)) -> states layers s = states layers t.
Proof.
move=> eq_size eq_row; congr (run _ _); apply: (@eq_from_nth _ x0); rewrite size_mkseq ?size_mkseq // => i lt_i.
by rewrite !nth_mkseq ?eq_row // -eq_size.
Qed.

End AnyRing.

(** Exchanging two tokens with equal rows. *)
Corollary exchange_equal_rows (F : ringType) (U : lmodType F) X (Token : eqType) (x0 : X) (a0 : Token) embed
    (layers : seq (layer U X)) u v s : (forall i, embed i u = embed i v :> X) ->
  states x0 a0 embed layers (map (fun a => if a == u then v else if a == v then u else a) s) =
  states x0 a0 embed layers s.
Proof.
move=> eq_rows; apply: equal_rows; rewrite size_map // => i lt_i; rewrite (nth_map a0) //.
by case: eqP => [->|_]; [rewrite eq_rows | case: eqP => [->|//]; rewrite eq_rows].
Qed.

(** ** Positions that "only change weights" do not suffice for the window reach across lengths

    One layer, window 2, rows of weights that are >= 0 and sum to one, causal, positions in the weights only: even
    positions read themselves, odd ones their predecessor.  The prompts 1 0 and 1 1 0 agree on the last R = 2 tokens,
    yet their last states are 1 and 0. *)
Section Counterexample.

Let parity_weight (i j : nat) : rat := if odd i then (j.+1 == i)%:R else (j == i)%:R.

Definition parity_layer : layer [lmodType rat of rat^o] rat :=
  @Layer _ _ _ 1 (fun _ _ x => x) (fun _ _ => parity_weight) (fun _ _ o => o ord0).

Definition bit_row (_ : nat) (a : bool) : rat := a%:R.

Theorem window_reach_needs_translation :
  [/\ rows_sum_to_one parity_layer, position_free parity_layer, position_free_embedding bit_row,
      causal parity_layer & windowed 0 2 parity_layer] /\
  last_state 0 false bit_row [:: parity_layer] [:: true; false] <>
  last_state 0 false bit_row [:: parity_layer] [:: true; true; false].
Proof.
have sums : rows_sum_to_one parity_layer.
  move=> h xs i lt_i; rewrite /= /parity_weight; case odd_i: (odd i).
    have lt_p : (i.-1 < size xs)%N by lia.
    have pS : (i.-1).+1 = i by lia.
    rewrite (bigD1 (Ordinal lt_p)) //= pS eqxx big1 ?addr0 // => j ne_j.
    by case: eqP => // e; case/eqP: ne_j; apply: val_inj; rewrite /= -e.
  rewrite (bigD1 (Ordinal lt_i)) //= eqxx big1 ?addr0 // => j ne_j.
  by case: eqP => // e; case/eqP: ne_j; apply: val_inj.
split; first split => //.
- move=> h xs ys i j _ _ _; split=> // lt_ij; rewrite /= /parity_weight.
  by case: ifP => _; case: eqP => // e; lia.
- split=> // h xs i j _ out; rewrite /= /parity_weight.
  by case: ifP => odd_i; case: eqP => // e; move: odd_i out; lia.
- rewrite /last_state /states /run /= /apply /mkseq /= /embedded /mkseq /= !ffunE /mixture /= !big_ord_recl !big_ord0 /=.
  by rewrite /parity_weight /bit_row /= !scale0r !scale1r !add0r.
Qed.

End Counterexample.
