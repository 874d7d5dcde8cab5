(** * Value numbering: rows that are computed alike are equal, for every parameter (docs/collisions.md)

    The rows (sub-tensors) of one network, or of several side by side, get numbers: equal ones where the same operation is
    applied to rows of equal numbers, and by three lemmas more: weights that sum to one, over rows of one number, give that
    row; a sum does not depend on the order of its terms; a quotient of two sums depends on how often every term occurs up
    to one factor common to both.  [equated]: rows of equal numbers are equal, whatever the operations compute.  "The same
    operation" includes the parameters it reads and the places it reads them at. *)

From mathcomp Require Import all_ssreflect ssralg ssrnum.
From Sipit Require Import Lookup.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Numbering.

(** [Op]: operations, [code]: any numbers of theirs, for a quick search; [W]: weights, by name. *)
Variables (Op W : eqType) (code : Op -> nat).

(** A row is made of earlier rows; a row with no arguments is an operation by itself (a row of a table, a constant). *)
Inductive row :=
| Apply (f : Op) (args : seq nat)
| Mixture (w : W) (args : seq nat)
| Total (args : seq nat)
| Quotient (above below : seq nat).

(** ** What rows are *)
Section Meaning.

Variables (F : ringType) (V : lmodType F).

(** For one choice of all parameters: what every operation makes of its arguments, every weight, and division. *)
Variables (meaning : Op -> seq V -> V) (weight : W -> nat -> F) (quotient : V -> V -> V).

Definition row_value (values : seq V) (r : row) : V :=
  let at_ j := nth 0 values j in
  match r with
  | Apply f args => meaning f (map at_ args)
  | Mixture w args => \sum_(j < size args) weight w j *: at_ (nth 0%N args j)
  | Total args => \sum_(j <- args) at_ j
  | Quotient above below => quotient (\sum_(j <- above) at_ j) (\sum_(j <- below) at_ j)
  end.

Definition row_values (rows : seq row) : seq V := foldl (fun values r => rcons values (row_value values r)) [::] rows.

(** The weights of every mixture sum to one.  (That is what the kernel checks of a softmax.) *)
Definition sums_to_one (r : row) : Prop :=
  if r is Mixture w args then \sum_(j < size args) weight w j = 1 else True.

(** Arguments are earlier rows. *)
Definition earlier (k : nat) (r : row) : bool :=
  match r with
  | Apply _ args | Mixture _ args | Total args => all (fun j => j < k)%N args
  | Quotient above below => all (fun j => j < k)%N (above ++ below)
  end.

End Meaning.

(** ** The algorithm *)

(** How often every number occurs; equal ones stand together. *)
Fixpoint tally (numbers : seq nat) : seq (nat * nat) :=
  if numbers is n :: rest then
    if tally rest is (m, c) :: others then if n == m then (m, c.+1) :: others else (n, 1%N) :: (m, c) :: others
    else [:: (n, 1%N)]
  else [::].

Definition common_factor (counts : seq (nat * nat)) : nat := foldr (fun p g => gcdn p.2 g) 0%N counts.
Definition divided_by (g : nat) (counts : seq (nat * nat)) : seq (nat * nat) := [seq (p.1, p.2 %/ g)%N | p <- counts].

Inductive key := Applied (f : Op) (numbers : seq nat) | Summed (numbers : seq nat) | Divided (above below : seq (nat * nat)).

Definition key_code (k : key) : Op * seq nat + (seq nat + seq (nat * nat) * seq (nat * nat)) :=
  match k with Applied f ns => inl (f, ns) | Summed ns => inr (inl ns) | Divided above below => inr (inr (above, below)) end.
Definition key_decode c : key :=
  match c with inl (f, ns) => Applied f ns | inr (inl ns) => Summed ns | inr (inr (above, below)) => Divided above below end.
Lemma key_codeK : cancel key_code key_decode. Proof. by case. Qed.
Definition key_eqMixin := CanEqMixin key_codeK.
Canonical key_eqType := EqType key key_eqMixin.

(** Where a key is searched for; keys that share a place are told apart there. *)
Definition mixed (h n : nat) : nat := ((h * 31 + n) %% (1021 * 1021))%N.
Definition key_place (k : key) : nat :=
  let pairs := foldl (fun h p => mixed (mixed h p.1) p.2) in
  match k with
  | Applied f ns => foldl mixed (mixed 1%N (code f)) ns
  | Summed ns => foldl mixed 2%N ns
  | Divided above below => pairs (mixed (pairs 3%N above) 0%N) below
  end.

(** [number s i]: of row i, of the [count] that have one; [next]: the least that was not given; [table]: of keys. *)
Record state := State { numbers : tree nat; count_rows : nat; next : nat; table : tree (seq (key * nat)) }.

Definition start : state := State (Leaf _) 0%N 0%N (Leaf _).
Definition number (s : state) (i : nat) : nat := odflt 0%N (find i (numbers s)).
Definition entered (s : state) (place : nat) : seq (key * nat) := odflt [::] (find place (table s)).

Definition same_as (n : nat) (s : state) : state :=
  State (put (count_rows s) n (numbers s)) (count_rows s).+1 (next s) (table s).

Definition fresh (s : state) : state :=
  State (put (count_rows s) (next s) (numbers s)) (count_rows s).+1 (next s).+1 (table s).

Definition keyed (s : state) (k : key) : state :=
  let place := key_place k in
  if [seq p <- entered s place | p.1 == k] is (_, n) :: _ then same_as n s
  else State (put (count_rows s) (next s) (numbers s)) (count_rows s).+1 (next s).+1
         (put place ((k, next s) :: entered s place) (table s)).

Definition number_row (s : state) (r : row) : state :=
  let of_ := map (number s) in
  match r with
  | Apply f args => keyed s (Applied f (of_ args))
  | Total args => keyed s (Summed (sort leq (of_ args)))
  | Quotient above below =>
      let a := tally (sort leq (of_ above)) in
      let b := tally (sort leq (of_ below)) in
      let g := common_factor (a ++ b) in
      keyed s (Divided (divided_by g a) (divided_by g b))
  | Mixture _ args =>
      if of_ args is n :: rest then if all (eq_op n) rest then same_as n s else fresh s else fresh s
  end.

(** The numbers of the first k rows, made from the last on, so that long lists need no stack. *)
Fixpoint listed (s : state) (k : nat) (found : seq nat) : seq nat :=
  if k is k'.+1 then listed s k' (number s k' :: found) else found.

Definition numbered (rows : seq row) : seq nat :=
  let s := foldl number_row start rows in listed s (count_rows s) [::].

Lemma listedE s k found : listed s k found = mkseq (number s) k ++ found.
Proof. by elim: k found => [//|k IH] found; rewrite mkseqS cat_rcons -IH. Qed.

(** ** Rows of equal numbers are equal *)
Section Soundness.

Variables (F : ringType) (V : lmodType F) (meaning : Op -> seq V -> V) (weight : W -> nat -> F) (quotient : V -> V -> V).

(** Division does not see a factor that is common to both sides.  ([quotient_scaled_division]: that of numbers does not.) *)
Hypothesis quotient_scaled : forall k x y, (0 < k)%N -> quotient (x *+ k) (y *+ k) = quotient x y.

Definition counted (row_of : nat -> V) (counts : seq (nat * nat)) : V := \sum_(p <- counts) row_of p.1 *+ p.2.

Definition key_value (row_of : nat -> V) (k : key) : V :=
  match k with
  | Applied f ns => meaning f (map row_of ns)
  | Summed ns => \sum_(n <- ns) row_of n
  | Divided above below => quotient (counted row_of above) (counted row_of below)
  end.

Definition known (k : key) (bound : nat) : bool :=
  match k with
  | Applied _ ns | Summed ns => all (fun n => n < bound)%N ns
  | Divided above below => all (fun p => p.1 < bound)%N (above ++ below)
  end.

(** [row_of n] is the row that all rows of number [n] are. *)
Definition right (values : seq V) (s : state) (row_of : nat -> V) : Prop :=
  [/\ count_rows s = size values,
      forall i, (i < size values)%N -> (number s i < next s)%N /\ nth 0 values i = row_of (number s i) &
      forall place p, p \in entered s place -> [/\ known p.1 (next s), (p.2 < next s)%N & key_value row_of p.1 = row_of p.2]].

Lemma same_below (row_of row_of' : nat -> V) k bound : known k bound -> (forall n, (n < bound)%N -> row_of' n = row_of n) ->
  key_value row_of' k = key_value row_of k.
Proof.
case: k => [f ns|ns|above below_] /= /allP below same; last 1 first.
- by congr (quotient _ _); apply: eq_big_seq => p inp; rewrite same // below // mem_cat inp ?orbT.
- by congr (meaning f _); apply/eq_in_map => n /below; exact: same.
by apply: eq_big_seq => n /below; exact: same.
Qed.

Lemma known_wider k bound : known k bound -> known k bound.+1.
Proof. by case: k => [f ns|ns|above below_] /= /allP lt; apply/allP => n /lt /ltnW. Qed.

(** *** Sums by counts *)
Lemma tally_sum row_of ns : counted row_of (tally ns) = \sum_(n <- ns) row_of n.
Proof.
rewrite /counted; elim: ns => [|n ns /= IH]; first by rewrite !big_nil.
rewrite big_cons -IH; case: (tally ns) => [|[m c] others]; first by rewrite !big_cons !big_nil.
by case: eqP => [->|_]; rewrite !big_cons //= mulrS addrA.
Qed.

Lemma mem_tally p ns : p \in tally ns -> p.1 \in ns.
Proof.
elim: ns p => [//|n ns /= IH] p; case: (tally ns) IH => [|[m c] others] IH.
  by rewrite !inE => /eqP->; rewrite eqxx.
case: eqP => [->|_]; rewrite !inE.
  by case/orP => [/eqP->|inp]; rewrite /= ?eqxx // IH ?orbT // inE inp orbT.
by case/orP => [/eqP->|inp]; rewrite /= ?eqxx // IH ?orbT // inE.
Qed.

Lemma common_factorP p counts : p \in counts -> (common_factor counts %| p.2)%N.
Proof.
elim: counts => [//|q counts IH]; rewrite inE => /orP[/eqP->|/IH div_p] /=; first exact: dvdn_gcdl.
exact: dvdn_trans (dvdn_gcdr _ _) div_p.
Qed.

Lemma counted_divided row_of g counts : (forall p, p \in counts -> (g %| p.2)%N) ->
  counted row_of counts = counted row_of (divided_by g counts) *+ g.
Proof.
move=> div; rewrite /counted big_map /= -sumrMnl; apply: eq_big_seq => p /div div_p.
by rewrite -mulrnA divnK.
Qed.

Lemma quotient_divided row_of a b : let g := common_factor (a ++ b) in
  quotient (counted row_of (divided_by g a)) (counted row_of (divided_by g b)) = quotient (counted row_of a) (counted row_of b).
Proof.
move=> g; have div p : p \in a ++ b -> (g %| p.2)%N by exact: common_factorP.
have div_a p : p \in a -> (g %| p.2)%N by move=> inp; apply: div; rewrite mem_cat inp.
have div_b p : p \in b -> (g %| p.2)%N by move=> inp; apply: div; rewrite mem_cat inp orbT.
rewrite (counted_divided row_of div_a) (counted_divided row_of div_b).
case: (posnP g) => [g0|g_gt0]; last by rewrite quotient_scaled.
have none counts : counted row_of (divided_by g counts) = 0.
  by rewrite /counted big_map big1_seq // => p _; rewrite /= g0 divn0 mulr0n.
by rewrite !none g0 !mulr0n.
Qed.

(** *** The state *)
Definition extended (row_of : nat -> V) (n : nat) (v : V) (m : nat) : V := if m == n then v else row_of m.

(** A row gets the next number; what the table holds then was there, or is the key of the row. *)
Lemma right_fresh values s row_of v t : right values s row_of ->
  (forall place p, p \in odflt [::] (find place t) -> p \in entered s place \/
     [/\ known p.1 (next s), p.2 = next s & key_value row_of p.1 = v]) ->
  right (rcons values v) (State (put (count_rows s) (next s) (numbers s)) (count_rows s).+1 (next s).+1 t)
    (extended row_of (next s) v).
Proof.
move=> [size_n rows tab] new; set row_of' := extended row_of (next s) v.
have below n : (n < next s)%N -> row_of' n = row_of n by rewrite /row_of' /extended => lt; rewrite ltn_eqF.
have at_next : row_of' (next s) = v by rewrite /row_of' /extended eqxx.
split; first by rewrite size_rcons /= size_n.
- move=> i; rewrite size_rcons ltnS leq_eqVlt nth_rcons /number /= find_put size_n.
  case: eqP => [->|_] /=; first by rewrite ltnn at_next.
  by move=> lt; rewrite lt; have [lt' ->] := rows i lt; rewrite below // ltnS ltnW.
- move=> place p /= inp; have [/tab [k0 lt k1]|[k0 -> k1]] := new place p inp.
    by rewrite (same_below k0 below) k1 below // known_wider // ltnS ltnW.
  by rewrite (same_below k0 below) k1 at_next /= ltnS leqnn known_wider.
Qed.

Lemma right_same values s row_of v n : right values s row_of -> (n < next s)%N -> row_of n = v ->
  right (rcons values v) (same_as n s) row_of.
Proof.
move=> [size_n rows tab] lt_n eq_v; split=> //; first by rewrite size_rcons /= size_n.
move=> i; rewrite size_rcons ltnS leq_eqVlt nth_rcons /number /= find_put size_n.
case: eqP => [->|_] /=; first by rewrite ltnn.
by move=> lt; rewrite lt; exact: rows.
Qed.

Lemma right_keyed values s row_of v k : right values s row_of -> known k (next s) -> key_value row_of k = v ->
  exists row_of', right (rcons values v) (keyed s k) row_of'.
Proof.
move=> ok k0 k1; rewrite /keyed; case E: [seq p <- _ | p.1 == k] => [|[k' n] rest].
  exists (extended row_of (next s) v); apply: right_fresh => // place p; rewrite find_put.
  case: eqP => [->|_]; last by left.
  by rewrite inE => /orP[/eqP->|inp]; [right | left].
have: (k', n) \in [seq p <- entered s (key_place k) | p.1 == k] by rewrite E mem_head.
rewrite mem_filter /= => /andP[/eqP eq_k inn]; have [_ _ tab] := ok; have [_ lt eq_v] := tab _ _ inn.
by exists row_of; apply: right_same => //; rewrite -eq_v /= eq_k.
Qed.

Lemma right_row values s row_of r : right values s row_of -> earlier (size values) r -> sums_to_one weight r ->
  exists row_of', right (rcons values (row_value meaning weight quotient values r)) (number_row s r) row_of'.
Proof.
move=> ok; have [size_n rows tab] := ok.
have arg args : all (fun j => j < size values)%N args ->
    all (fun n => n < next s)%N (map (number s) args) /\ map (nth 0 values) args = map row_of (map (number s) args).
  move=> /allP lt; split; first by apply/allP => n /mapP[j /lt /rows [? _] ->].
  by rewrite -map_comp; apply/eq_in_map => j /lt /rows [_ ->].
have summed args : all (fun j => j < size values)%N args ->
    \sum_(n <- sort leq (map (number s) args)) row_of n = \sum_(j <- args) nth 0 values j.
  move=> /allP lt; rewrite (perm_big _ (permEl (perm_sort _ _))) /= big_map.
  by apply: eq_big_seq => j /lt /rows [_ ->].
case: r => [f args|w args|args|above below_] /= early one.
- by have [below eq_args] := arg args early; apply: right_keyed ok _ _; rewrite //= eq_args.
- have [below eq_args] := arg args early; case E: (map _ args) => [|n rest].
    have -> : args = [::] by case: args E {early one below eq_args}.
    exists (extended row_of (next s) (row_value meaning weight quotient values (Mixture w [::]))).
    by apply: (@right_fresh _ _ _ _ _ ok); left.
  case: ifP => [same | _]; last first.
    exists (extended row_of (next s) (row_value meaning weight quotient values (Mixture w args))).
    by apply: (@right_fresh _ _ _ _ _ ok); left.
  exists row_of; apply: right_same => //; first by move: below; rewrite E /= => /andP[].
  rewrite (eq_bigr (fun j : 'I_(size args) => weight w j *: row_of n)) => [|j _]; first by rewrite -scaler_suml one scale1r.
  congr (_ *: _); have eq_n : all (eq_op n) (map (number s) args) by rewrite E /= eqxx.
  have := nth_map 0%N 0%N (number s) (ltn_ord j); have lt_j := ltn_ord j.
  move/allP: early => /(_ _ (mem_nth 0%N lt_j)) /rows [_ ->] eq_nth.
  by congr row_of; rewrite -eq_nth; apply/esym/eqP/(allP eq_n); rewrite mem_nth // size_map.
- have [below _] := arg args early; apply: right_keyed ok _ _ => /=; last exact: summed.
  by apply/allP => n; rewrite mem_sort => /(allP below).
- move: early; rewrite all_cat => /andP[early_a early_b].
  apply: right_keyed ok _ _ => /=; last by rewrite quotient_divided !tally_sum !summed.
  have in_bound g args : all (fun j => j < size values)%N args ->
      all (fun p => p.1 < next s)%N (divided_by g (tally (sort leq (map (number s) args)))).
    move=> /arg [below _]; apply/allP => p /mapP[q inq ->] /=.
    by move: (mem_tally inq); rewrite mem_sort => /(allP below).
  by rewrite all_cat !in_bound.
Qed.

(** Whatever the operations compute and whatever the weights are, as long as those of every mixture sum to one: rows of
    equal numbers are equal. *)
Theorem equated (rows : seq row) :
  (forall i, (i < size rows)%N -> earlier i (nth (Total [::]) rows i) /\ sums_to_one weight (nth (Total [::]) rows i)) ->
  forall i j, (i < size rows)%N -> (j < size rows)%N -> nth 0%N (numbered rows) i = nth 0%N (numbered rows) j ->
  nth 0 (row_values meaning weight quotient rows) i = nth 0 (row_values meaning weight quotient rows) j.
Proof.
move=> hyps.
have size_v rs : size (row_values meaning weight quotient rs) = size rs.
  by rewrite /row_values; elim/last_ind: rs => // rs r IH; rewrite foldl_rcons !size_rcons IH.
suff [row_of [size_n all_rows _]] : exists row_of, right (row_values meaning weight quotient rows)
    (foldl number_row start rows) row_of.
  move=> i j lt_i lt_j; rewrite /numbered listedE cats0 size_n size_v !nth_mkseq // => eq_n.
  by have [_ ->] := all_rows i (eq_ind_r (fun n => i < n)%N lt_i (size_v rows));
     have [_ ->] := all_rows j (eq_ind_r (fun n => j < n)%N lt_j (size_v rows)); rewrite eq_n.
elim/last_ind: rows hyps => [|rows r IH] hyps; first by exists (fun=> 0); split.
have [|row_of ok] := IH.
  by move=> i lt; have := hyps i; rewrite size_rcons ltnS nth_rcons lt; apply; exact: ltnW.
have := hyps (size rows); rewrite size_rcons nth_rcons ltnn eqxx => /(_ (leqnn _)) [early one].
rewrite -(size_v rows) in early; have [row_of' ok'] := right_row ok early one.
by exists row_of'; rewrite /row_values !foldl_rcons.
Qed.

End Soundness.

(** Of numbers the hypothesis on division holds, so that [equated] is about them without it. *)
Section Numbers.

Variables (F : numFieldType) (meaning : Op -> seq F -> F) (weight : W -> nat -> F).

Lemma quotient_scaled_division k (x y : F) : (0 < k)%N -> (x *+ k) / (y *+ k) = x / y.
Proof.
move=> k0; have k_neq0 : k%:R != 0 :> F by rewrite pnatr_eq0 -lt0n.
by rewrite -(mulr_natr x) -(mulr_natr y) invfM mulrACA divff // mulr1.
Qed.

Corollary equated_numbers (rows : seq row) :
  let values := row_values (V := [lmodType F of F^o]) meaning weight (fun x y => x / y) rows in
  (forall i, (i < size rows)%N -> earlier i (nth (Total [::]) rows i) /\ sums_to_one weight (nth (Total [::]) rows i)) ->
  forall i j, (i < size rows)%N -> (j < size rows)%N -> nth 0%N (numbered rows) i = nth 0%N (numbered rows) j ->
  nth 0 values i = nth 0 values j.
Proof. exact: (@equated F [lmodType F of F^o] meaning weight _ quotient_scaled_division). Qed.

End Numbers.

End Numbering.
