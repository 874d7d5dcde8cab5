(** * Scores that tell positions apart separate all prompts but runs of one token

    docs/generic-position.md, "Compared with the classification", the row of rotary positions: the half that prompts
    *differ*, for one head with given position factors.  A head gives keys of one token u at position j of T the score
    c x_(T,j) and all others 0; its output is the share of weight on u.  With c a multiple k d of any step, the weight is
    y^k with y = e^(d x).  If for every length the x are distinct (rotary: cos of the angle, off the rational multiples of
    pi; stored tables alike), then prompts with equal shares for all u and k are equal, or runs of one token.
    Nothing is assumed between different lengths. *)

From mathcomp Require Import all_ssreflect all_algebra zify.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Separation.

Variables (F : realFieldType) (Token : eqType) (a0 : Token) (y : nat -> nat -> F).
Hypothesis y_gt0 : forall T j, 0 < y T j.
Hypothesis y_inj : forall T i j, (i < T)%N -> (j < T)%N -> y T i = y T j -> i = j.

(** The positions of [u], and how many there are of other tokens. *)
Definition of_token (u : Token) (s : seq Token) : seq nat := [seq j <- iota 0 (size s) | nth a0 s j == u].
Definition others (u : Token) (s : seq Token) : nat := (size s - size (of_token u s))%N.

Definition on_token u s k : F := \sum_(j <- of_token u s) y (size s) j ^+ k.
Definition share u s k : F := on_token u s k / (on_token u s k + (others u s)%:R).

Lemma of_token_in u s j : j \in of_token u s = (j < size s)%N && (nth a0 s j == u).
Proof. by rewrite mem_filter mem_iota andbC. Qed.

Lemma on_token_gt0 u s k j : j \in of_token u s -> 0 < on_token u s k.
Proof.
move=> inj; rewrite /on_token (perm_big _ (perm_to_rem inj)) big_cons /=.
by rewrite ltr_paddr ?exprn_gt0 // sumr_ge0 // => i _; rewrite exprn_ge0 // ltW.
Qed.

Lemma on_token_ge0 u s k : 0 <= on_token u s k.
Proof. by rewrite /on_token sumr_ge0 // => i _; rewrite exprn_ge0 // ltW. Qed.

Lemma on_token_0 u s : on_token u s 0 = (size (of_token u s))%:R.
Proof.
rewrite /on_token (eq_bigr (fun=> 1)) => [|j _]; last by rewrite expr0.
by rewrite big_const_seq count_predT iter_addr_0.
Qed.

Lemma size_of_token u s : (size (of_token u s) + others u s)%N = size s.
Proof. by rewrite subnKC // size_filter (leq_trans (count_size _ _)) // size_iota. Qed.

Lemma denominator_gt0 u s k : (0 < size s)%N -> 0 < on_token u s k + (others u s)%:R.
Proof.
move=> s0; case E: (of_token u s) => [|j js].
  by rewrite ltr_paddl ?on_token_ge0 // ltr0n /others E subn0.
by rewrite ltr_paddr ?ler0n // (@on_token_gt0 _ _ _ j) // E mem_head.
Qed.

(** Equal shares, without the quotient. *)
Lemma shares_cross u s t k : (0 < size s)%N -> (0 < size t)%N -> share u s k = share u t k ->
  (others u t)%:R * on_token u s k = (others u s)%:R * on_token u t k.
Proof.
move=> s0 t0 /eqP; rewrite /share eqr_div ?lt0r_neq0 ?denominator_gt0 // => /eqP.
by rewrite !mulrDr [on_token u t k * on_token u s k]mulrC => /addrI eq; rewrite mulrC eq mulrC.
Qed.

(** What holds of all powers holds of all polynomials. *)
Lemma of_polynomials (js ks : seq nat) (f g : nat -> F) (a b : F) :
  (forall k : nat, a * (\sum_(j <- js) f j ^+ k) = b * (\sum_(j <- ks) g j ^+ k)) ->
  forall p : {poly F}, a * (\sum_(j <- js) p.[f j]) = b * (\sum_(j <- ks) p.[g j]).
Proof.
move=> powers p; have coefs (ls : seq nat) (h : nat -> F) :
    \sum_(j <- ls) p.[h j] = \sum_(k < size p) p`_k * \sum_(j <- ls) h j ^+ k.
  rewrite (eq_bigr (fun j => \sum_(k < size p) p`_k * h j ^+ k)) => [|j _]; last by rewrite horner_coef.
  by rewrite exchange_big /=; apply: eq_bigr => k _; rewrite mulr_sumr.
rewrite !coefs !mulr_sumr; apply: eq_bigr => k _; rewrite mulrCA powers; exact: mulrCA.
Qed.

(** A polynomial that picks one of finitely many numbers. *)
Definition picking (v : F) (vs : seq F) : {poly F} := \prod_(w <- vs | w != v) ('X - w%:P).
Lemma picking_self v vs : (picking v vs).[v] != 0.
Proof.
rewrite /picking; elim/big_rec: _ => [|w p ne IH]; first by rewrite hornerC oner_eq0.
by rewrite hornerM mulf_neq0 // !hornerE subr_eq0 eq_sym.
Qed.
Lemma picking_other v w vs : w \in vs -> w != v -> (picking v vs).[w] = 0.
Proof.
move=> inw ne; rewrite /picking (big_rem w inw) ne hornerM !hornerE subrr mul0r //.
Qed.

(** Sums over the positions of [u] of a polynomial that picks the factor of one of them. *)
Lemma picked u s v (vs : seq F) : (forall j, j \in of_token u s -> y (size s) j \in vs) ->
  \sum_(j <- of_token u s) (picking v vs).[y (size s) j] =
  (has (fun j => y (size s) j == v) (of_token u s))%:R * (picking v vs).[v].
Proof.
move=> inside; case: hasP => [[j inj /eqP eq_v]|none].
  rewrite (perm_big _ (perm_to_rem inj)) big_cons /= eq_v mul1r big_seq big1 ?addr0 // => i.
  rewrite mem_rem_uniq ?filter_uniq ?iota_uniq // inE => /andP[/eqP ne mem_i].
  have ini : i \in of_token u s by exact: mem_i.
  rewrite picking_other ?inside //; apply/eqP => e; apply: ne; move: ini inj.
  by rewrite !of_token_in => /andP[lt_i _] /andP[lt_j _]; apply: y_inj lt_i lt_j _; rewrite e eq_v.
rewrite mul0r big_seq big1 // => i ini; rewrite picking_other ?inside //.
by apply/eqP => e; apply: none; exists i => //; rewrite e.
Qed.

Lemma half_separated u s t j : (0 < size t)%N -> (0 < others u s)%N -> j \in of_token u s ->
  (forall k, share u s k = share u t k) -> size s = size t /\ nth a0 t j = u.
Proof.
move=> t0 N0 inj eq_share; have s0 : (0 < size s)%N by rewrite -(size_of_token u s) addn_gt0 N0 orbT.
have cross k := shares_cross s0 t0 (eq_share k).
have poly := of_polynomials cross.
have N'0 : (0 < others u t)%N.
  rewrite lt0n; apply/eqP => N'; have := cross 0%N; rewrite N' mul0r => /esym/eqP.
  rewrite mulf_eq0 pnatr_eq0 -leqn0 leqNgt N0 /= => /eqP zero.
  have := size_of_token u t; rewrite N' addn0; case E: (of_token u t) => [|i rest] /= size_t; first by rewrite -size_t in t0.
  by have := @on_token_gt0 u t 0 i; rewrite E mem_head zero ltxx => /(_ isT).
pose v := y (size s) j; pose vs := map (y (size s)) (of_token u s) ++ map (y (size t)) (of_token u t).
have := poly (picking v vs); rewrite !picked; last 2 first.
- by move=> i ini; rewrite mem_cat map_f // orbT.
- by move=> i ini; rewrite mem_cat map_f.
have -> : has (fun i => y (size s) i == v) (of_token u s) by apply/hasP; exists j.
rewrite mul1r !mulrA => /(mulIf (picking_self v vs)) eq_N.
have [i ini /eqP eq_i] : exists2 i, i \in of_token u t & y (size t) i == v.
  apply/hasP; apply: contraT => /negPf none; move: eq_N; rewrite none mulr0 => /eqP.
  by rewrite pnatr_eq0 -leqn0 leqNgt N'0.
have same_others : others u s = others u t.
  move: eq_N; have -> : has (fun i => y (size t) i == v) (of_token u t) by apply/hasP; exists i => //; apply/eqP.
  by rewrite mulr1 => /eqP; rewrite eqr_nat => /eqP.
have same_size : size s = size t.
  have := cross 0%N; rewrite !on_token_0 same_others => /(mulfI _).
  rewrite pnatr_eq0 -lt0n N'0 => /(_ isT)/eqP; rewrite eqr_nat => /eqP same.
  by rewrite -(size_of_token u s) -(size_of_token u t) same same_others.
split=> //; move: ini inj; rewrite !of_token_in => /andP[lt_i /eqP eq_u] /andP[lt_j _].
suff <- : i = j by [].
by apply: (y_inj (T := size t)) => //; [rewrite -same_size | rewrite eq_i /v same_size].
Qed.

(** If every share agrees for every token and every strength, the prompts are equal, or runs of one token. *)
Theorem separated (s t : seq Token) : (0 < size s)%N -> (0 < size t)%N ->
  (forall u k, share u s k = share u t k) ->
  s = t \/ exists a, s = nseq (size s) a /\ t = nseq (size t) a.
Proof.
move=> s0 t0 eq_share; pose a := nth a0 s 0; have in0 : 0%N \in of_token a s by rewrite of_token_in s0 /= eqxx.
have run (r : seq Token) : others a r = 0%N -> r = nseq (size r) a.
  move=> none; apply: (@eq_from_nth _ a0) => [|i lt_i]; rewrite ?size_nseq // nth_nseq lt_i.
  have : all (fun j => nth a0 r j == a) (iota 0 (size r)).
    by rewrite all_count size_iota -size_filter -/(of_token a r) -[X in _ == X](size_of_token a r) none addn0.
  by move/allP/(_ i); rewrite mem_iota => /(_ lt_i)/eqP.
have [none|some] := posnP (others a s).
  right; exists a; split; apply: run => //; apply/eqP; rewrite -leqn0 leqNgt; apply/negP => N'0.
  have := shares_cross s0 t0 (eq_share a 0%N); rewrite none mul0r => /eqP.
  by rewrite mulf_eq0 pnatr_eq0 -leqn0 leqNgt N'0 /= gt_eqF // (@on_token_gt0 _ _ _ 0%N).
left; have [same _] := half_separated t0 some in0 (eq_share a).
apply: (@eq_from_nth _ a0) => // i lt_i; set u := nth a0 s i.
have ini : i \in of_token u s by rewrite of_token_in lt_i /= eqxx.
have N0 : (0 < others u s)%N.
  rewrite lt0n; apply: contraTneq some => none; rewrite -leqNgt leqn0 -none.
  have all_u : all (fun j => nth a0 s j == u) (iota 0 (size s)).
    by rewrite all_count size_iota -size_filter -/(of_token u s) -[X in _ == X](size_of_token u s) none addn0.
  by have /allP/(_ 0%N) := all_u; rewrite mem_iota => /(_ s0)/eqP eq_a; rewrite /a eq_a.
by have [_ ->] := half_separated t0 N0 ini (eq_share u).
Qed.

End Separation.
