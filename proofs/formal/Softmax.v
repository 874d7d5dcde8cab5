(** * Softmax attention: that it meets the hypotheses, and what one layer of it cannot see

    docs/theory.md, "Repeated tokens" (its instances) and "Permuted prefixes"; docs/generic-position.md, "proportional
    multisets" and "powers of one word". *)

From mathcomp Require Import all_ssreflect ssralg ssrnum zify.
From Sipit Require Import Network Collisions.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Softmax.

(** [F]: an ordered field such as the reals; of the exponential only positivity is used. *)
Variables (F : numFieldType) (expo : F -> F) (U : lmodType F) (X : Type) (x0 : X).
Hypothesis expo_gt0 : forall x, 0 < expo x.

(** Masked softmax of scores that depend arbitrarily on all states, both positions and the length. *)
Definition softmax (mask : seq X -> nat -> nat -> bool) (score : seq X -> nat -> nat -> F) (xs : seq X) (i j : nat) : F :=
  (if mask xs i j then expo (score xs i j) else 0) /
  \sum_(k < size xs) (if mask xs i k then expo (score xs i k) else 0).

(** Whatever the scores (RoPE, ALiBi, T5 bias, none, soft-capped, normalised) and the mask (causal, windows, chunks): if
    every position sees itself, the rows sum to one, so [repeated_tokens] applies. *)
Theorem softmax_rows_sum_to_one (L : layer U X) (mask : seq X -> nat -> nat -> bool)
    (score : 'I_(heads L) -> seq X -> nat -> nat -> F) :
  (forall xs i, (i < size xs)%N -> mask xs i i) -> (forall h, weight L h = softmax mask (score h)) -> rows_sum_to_one L.
Proof.
move=> self weightP h xs i lt_i; rewrite weightP /softmax -mulr_suml divff //.
rewrite (bigD1 (Ordinal lt_i)) //= self // gt_eqF // ltr_paddr ?expo_gt0 // sumr_ge0 // => j _.
by case: ifP => // _; exact: ltW.
Qed.

Theorem softmax_nonnegative mask score xs i j : 0 <= softmax mask score xs i j.
Proof.
have ge0 b x : 0 <= (if b then expo x else 0) by case: b => //; exact: ltW.
by rewrite divr_ge0 // sumr_ge0.
Qed.

(** ** One layer that sees contents, and distance through powers of one factor only

    The weight of position [j] at [i] is proportional to a(x_i, x_j) rho^(i-j): no positions for rho = 1, ALiBi with slope
    m for rho = e^(-m). *)
Definition content_weights (L : layer U X) (a : 'I_(heads L) -> X -> X -> F) (rho : 'I_(heads L) -> F) : Prop :=
  forall h xs i j, (i < size xs)%N -> weight L h xs i j =
    if (j <= i)%N then a h (nth x0 xs i) (nth x0 xs j) * rho h ^+ (i - j) /
      (\sum_(k < i.+1) a h (nth x0 xs i) (nth x0 xs k) * rho h ^+ (i - k)) else 0.

Arguments content_weights L a rho : clear implicits.

(** Causal softmax of scores that depend on both contents alone is of this kind, with rho = 1. *)
Theorem causal_softmax_content (L : layer U X) (score : 'I_(heads L) -> X -> X -> F) :
  (forall h xs i j, (i < size xs)%N -> weight L h xs i j =
     softmax (fun _ i j => (j <= i)%N) (fun xs i j => score h (nth x0 xs i) (nth x0 xs j)) xs i j) ->
  content_weights L (fun h x y => expo (score h x y)) (fun=> 1).
Proof.
move=> weightP h xs i j lt_i; rewrite weightP // /softmax expr1n mulr1.
case: leqP => _; last by rewrite mul0r.
congr (_ / _); pose G k : [lmodType F of F^o] := if (k <= i)%N then expo (score h (nth x0 xs i) (nth x0 xs k)) else 0.
rewrite (sum_cut (G := G) lt_i) => [|k /andP[lt_ik _]]; last by rewrite /G leqNgt lt_ik.
by apply: eq_bigr => k _; rewrite /G -ltnS ltn_ord expr1n mulr1.
Qed.

(** Sum of g over a list, the last entry with factor 1, every earlier one with one more factor rho. *)
Definition geometric (V : lmodType F) (rho : F) (T : Type) (g : T -> V) (s : seq T) : V :=
  foldl (fun sum x => rho *: sum + g x) 0 s.

Lemma geometric_rcons (V : lmodType F) rho T (g : T -> V) s x :
  geometric rho g (rcons s x) = rho *: geometric rho g s + g x.
Proof. by rewrite /geometric foldl_rcons. Qed.

Lemma geometric_cat (V : lmodType F) rho T (g : T -> V) s t :
  geometric rho g (s ++ t) = rho ^+ size t *: geometric rho g s + geometric rho g t.
Proof.
elim/last_ind: t => [|t x IH]; first by rewrite cats0 expr0 scale1r addr0.
by rewrite -rcons_cat !geometric_rcons IH size_rcons exprS scalerDr scalerA addrA.
Qed.

Lemma geometric_sum (V : lmodType F) rho (T : Type) (z : T) (g : T -> V) s n : size s = n.+1 ->
  \sum_(j < n.+1) rho ^+ (n - j) *: g (nth z s j) = geometric rho g s.
Proof.
elim/last_ind: s n => // s x IH n; rewrite size_rcons => -[size_s].
rewrite geometric_rcons big_ord_recr /= subnn expr0 scale1r nth_rcons size_s ltnn eqxx; congr (_ + _).
case: n size_s => [|n] size_s; first by move/size0nil: size_s => ->; rewrite big_ord0 scaler0.
rewrite -(IH n) // scaler_sumr; apply: eq_bigr => j _.
by rewrite nth_rcons size_s ltn_ord scalerA -exprS subSn // -ltnS.
Qed.

Lemma geometric_map (V : lmodType F) rho T T' (f : T' -> T) (g : T -> V) s :
  geometric rho g (map f s) = geometric rho (g \o f) s.
Proof. by elim/last_ind: s => // s x IH; rewrite map_rcons !geometric_rcons IH. Qed.

(** Without positions it is the plain sum. *)
Lemma geometric1 (V : lmodType F) T (g : T -> V) s : geometric 1 g s = \sum_(x <- s) g x.
Proof.
elim/last_ind: s => [|s x IH]; first by rewrite big_nil.
by rewrite geometric_rcons IH scale1r -cats1 big_cat big_seq1.
Qed.

(** Powers of a word: one common factor. *)
Lemma geometric_power (V : lmodType F) rho T (g : T -> V) w m :
  geometric rho g (flatten (nseq m w)) = (\sum_(c < m) rho ^+ (c * size w)) *: geometric rho g w.
Proof.
elim: m => [|m IH] /=; first by rewrite big_ord0 scale0r.
rewrite geometric_cat IH -scalerDl big_ord_recr /= addrC.
by congr ((_ + rho ^+ _) *: _); rewrite size_flatten /shape map_nseq sumn_nseq mulnC.
Qed.

Lemma last_of_content (L : layer U X) a rho xs z : content_weights L a rho -> position_free L ->
  last x0 (apply x0 L (rcons xs z)) = combine L 0 z
    [ffun h => (geometric (V := [lmodType F of F^o]) (rho h) (a h z) (rcons xs z))^-1 *:
       geometric (rho h) (fun x => a h z x *: value L h 0 x) (rcons xs z)].
Proof.
move=> weightP [valueP combineP]; rewrite -nth_last size_apply nth_apply size_rcons //= nth_rcons ltnn eqxx.
rewrite (combineP _ 0%N); congr (combine _ _ _ _); apply/ffunP => h; rewrite !ffunE /mixture size_rcons.
rewrite -!(geometric_sum _ x0 _ (size_rcons xs z)) scaler_sumr.
apply: eq_bigr => j _; rewrite weightP ?size_rcons // -ltnS ltn_ord nth_rcons ltnn eqxx (valueP h j 0%N).
rewrite !scalerA; congr (_ *: _); rewrite mulrC; congr (_^-1 * _); last exact: mulrC.
by apply: eq_bigr => k _; rewrite mulrC.
Qed.

Lemma geometric_gt0 rho T (g : T -> F) w : 0 < rho -> (forall x, 0 < g x) -> (0 < size w)%N ->
  0 < geometric (V := [lmodType F of F^o]) rho g w.
Proof.
move=> rho0 g0; elim/last_ind: w => // w x IH _; rewrite geometric_rcons; case: w IH => [_|y w IH].
  by rewrite /geometric /= scaler0 add0r.
by rewrite addr_gt0 // mulr_gt0 // IH.
Qed.

Variables (Token : eqType) (a0 : Token) (embed : nat -> Token -> X).
Hypothesis embedP : position_free_embedding embed.

Lemma embedded_map s : embedded a0 embed s = map (embed 0) s.
Proof.
apply: (@eq_from_nth _ x0); rewrite size_mkseq ?size_map // => i lt_i.
by rewrite nth_mkseq // (nth_map a0) // (embedP i 0%N).
Qed.

(** If numerators and denominators of the heads scale alike, the last states are equal. *)
Lemma same_mixture (L : layer U X) a rho s t z : content_weights L a rho -> position_free L ->
  (forall h (V : lmodType F) (g : Token -> V), exists c d : F,
    [/\ 0 < c, 0 < d & c *: geometric (rho h) g (rcons s z) = d *: geometric (rho h) g (rcons t z)]) ->
  last_state x0 a0 embed [:: L] (rcons s z) = last_state x0 a0 embed [:: L] (rcons t z).
Proof.
move=> weightP free same; rewrite /last_state /states /= !embedded_map !map_rcons !(last_of_content _ _ weightP free).
congr (combine _ _ _ _); apply/ffunP => h; rewrite !ffunE -!map_rcons !geometric_map.
pose pair u : [lmodType F of F^o] * U := (a h (embed 0 z) (embed 0 u), a h (embed 0 z) (embed 0 u) *: value L h 0 (embed 0 u)).
have split w : geometric (rho h) pair w = (geometric (V := [lmodType F of F^o]) (rho h) (a h (embed 0 z) \o embed 0) w,
    geometric (rho h) ((fun x => a h (embed 0 z) x *: value L h 0 x) \o embed 0) w).
  by elim/last_ind: w => // w x IH; rewrite !geometric_rcons IH.
have [c [d [c0 d0]]] := same h _ pair; rewrite !split => -[eq_den eq_num].
have scale e (x : F) (y : U) : e != 0 -> x^-1 *: y = (e * x)^-1 *: (e *: y).
  by move=> e0; rewrite invfM scalerA mulrAC mulVf ?mul1r.
by rewrite (scale c) ?gt_eqF // (scale d _ (geometric _ _ (rcons t z))) ?gt_eqF // -eq_num; congr (_^-1 *: _).
Qed.

(** *** No positions: permuted prefixes and proportional multisets (docs/theory.md, docs/generic-position.md)

    If m copies of [s z] and k copies of [t z] hold every token equally often, the last states are equal. *)
Theorem proportional_multisets (L : layer U X) a s t z m k : content_weights L a (fun=> 1) -> position_free L ->
  (0 < m)%N -> (0 < k)%N ->
  (forall u, m * count_mem u (rcons s z) = k * count_mem u (rcons t z))%N ->
  last_state x0 a0 embed [:: L] (rcons s z) = last_state x0 a0 embed [:: L] (rcons t z).
Proof.
move=> weightP free m0 k0 counts; apply: same_mixture weightP free _ => h V g.
exists m%:R, k%:R; rewrite !ltr0n; split=> //; rewrite !geometric1.
have times n w : n%:R *: (\sum_(x <- w) g x) = \sum_(x <- flatten (nseq n w)) g x.
  by rewrite big_flatten big_nseq iter_addr_0 scaler_nat.
rewrite !times; apply: perm_big; apply/allP => u _.
by apply/eqP; rewrite !count_flatten !map_nseq !sumn_nseq mulnC counts mulnC.
Qed.

(** The special case of docs/theory.md: the prefix may be permuted. *)
Corollary permuted_prefixes (L : layer U X) a s t z : content_weights L a (fun=> 1) -> position_free L -> perm_eq s t ->
  last_state x0 a0 embed [:: L] (rcons s z) = last_state x0 a0 embed [:: L] (rcons t z).
Proof.
move=> weightP free perm; apply: (proportional_multisets (m := 1) (k := 1) weightP free) => // u.
by rewrite !mul1n -!cats1 !count_cat (permP perm).
Qed.

(** *** ALiBi: powers of one word (docs/generic-position.md) *)
Theorem powers_of_one_word (L : layer U X) a rho w z m k : content_weights L a rho -> position_free L ->
  (forall h, 0 < rho h) -> (0 < m)%N -> (0 < k)%N ->
  last_state x0 a0 embed [:: L] (flatten (nseq m (rcons w z))) =
  last_state x0 a0 embed [:: L] (flatten (nseq k (rcons w z))).
Proof.
move=> weightP free rho0; case: m k => [//|m] [//|k] _ _.
have shape n : flatten (nseq n.+1 (rcons w z)) = rcons (flatten (nseq n (rcons w z)) ++ w) z.
  by rewrite -addn1 nseqD flatten_cat /= cats0 -rcons_cat.
rewrite !shape; apply: same_mixture weightP free _ => h V g; rewrite -!shape !geometric_power.
have pos n : 0 < \sum_(c < n.+1) rho h ^+ (c * size (rcons w z)).
  by rewrite big_ord_recl ltr_paddr ?exprn_gt0 // sumr_ge0 // => j _; rewrite exprn_ge0 // ltW.
exists (\sum_(c < k.+1) rho h ^+ (c * size (rcons w z))), (\sum_(c < m.+1) rho h ^+ (c * size (rcons w z))).
by split=> //; rewrite !scalerA mulrC.
Qed.

End Softmax.
