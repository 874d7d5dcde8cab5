(** * Value numbering: rows that are computed alike are equal, for every parameter (docs/collisions.md)

    The rows (sub-tensors) of one network, or of several side by side, get numbers: equal ones where the same operation is
    applied to rows of equal numbers, and by three lemmas more: weights that sum to one, over rows of one number, give that
    row; a sum does not depend on the order of its terms; a quotient of two sums of multiples of rows, by powers of one
    positive number, depends on these multiples up to one factor common to all.  [equated]: rows of equal numbers are equal,
    whatever the operations compute.  "The same operation" includes the parameters it reads and the places it reads them
    at. *)

From mathcomp Require Import all_ssreflect order ssralg ssrnum.
From Sipit Require Import Lookup.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Numbering.

(** [Op]: operations, [code]: any numbers of theirs, for a quick search; [W]: weights, by name; [B]: positive numbers, by
    name. *)
Variables (Op W B : eqType) (code : Op -> nat).

(** A row is made of earlier rows; a row with no arguments is an operation by itself (a row of a table, a constant).  The
    terms of a quotient are rows, each with the exponent of a power of one number. *)
Inductive row :=
| Apply (f : Op) (args : seq nat)
| Mixture (w : W) (args : seq nat)
| Total (args : seq nat)
| Quotient (b : B) (above below : seq (nat * nat)).

(** ** What rows are *)
Section Meaning.

Variables (F : ringType) (V : lmodType F).

(** For one choice of all parameters: what every operation makes of its arguments, every weight, the numbers of [B], and division. *)
Variables (meaning : Op -> seq V -> V) (weight : W -> nat -> F) (rho : B -> F) (quotient : V -> V -> V).

Definition row_value (values : seq V) (r : row) : V :=
  let at_ j := nth 0 values j in
  match r with
  | Apply f args => meaning f (map at_ args)
  | Mixture w args => \sum_(j < size args) weight w j *: at_ (nth 0%N args j)
  | Total args => \sum_(j <- args) at_ j
  | Quotient b above below =>
      let sum terms := \sum_(p <- terms) rho b ^+ p.2 *: at_ p.1 in quotient (sum above) (sum below)
  end.

Definition row_values (rows : seq row) : seq V := foldl (fun values r => rcons values (row_value values r)) [::] rows.

(** The weights of every mixture sum to one.  (That is what the kernel checks of a softmax.) *)
Definition sums_to_one (r : row) : Prop :=
  if r is Mixture w args then \sum_(j < size args) weight w j = 1 else True.

(** Arguments are earlier rows. *)
Definition earlier (k : nat) (r : row) : bool :=
  match r with
  | Apply _ args | Mixture _ args | Total args => all (fun j => j < k)%N args
  | Quotient _ above below => all (fun p => p.1 < k)%N (above ++ below)
  end.

End Meaning.

(** ** The algorithm *)

(** Polynomials, the lowest coefficient first. *)
Fixpoint plus (p q : seq nat) : seq nat :=
  match p, q with [::], _ => q | _, [::] => p | c :: p', d :: q' => (c + d)%N :: plus p' q' end.
Fixpoint minus (p q : seq nat) : seq nat :=
  match p, q with [::], _ => [::] | _, [::] => p | c :: p', d :: q' => (c - d)%N :: minus p' q' end.
Definition multiple (c : nat) (p : seq nat) : seq nat := [seq (c * d)%N | d <- p].
Fixpoint times (p q : seq nat) : seq nat := if p is c :: p' then plus (multiple c q) (0%N :: times p' q) else [::].
Definition stripped (p : seq nat) : seq nat := foldr (fun c q => if (c == 0)%N && nilp q then [::] else c :: q) [::] p.

(** The quotient of polynomials if there is one; [steps]: as many as there are coefficients. *)
Fixpoint divided (steps : nat) (p g : seq nat) : seq nat :=
  match steps, p with
  | k.+1, c :: p' => let q := (c %/ head 0%N g)%N in q :: divided k (minus p' (multiple q (behead g))) g
  | _, _ => [::]
  end.
Definition exactly (p g : seq nat) : seq nat := stripped (divided (size p) p g).

(** Every number with the polynomial by which it is multiplied; equal numbers stand together. *)
Fixpoint gathered (terms : seq (nat * nat)) : seq (nat * seq nat) :=
  if terms is (n, e) :: rest then
    let power := ncons e 0%N [:: 1%N] in
    if gathered rest is (m, p) :: others then if n == m then (m, plus power p) :: others else (n, power) :: (m, p) :: others
    else [:: (n, power)]
  else [::].

(** All polynomials over a factor that divides them; as they are where it does not. *)
Definition without (g : seq nat) (sides : seq (nat * seq nat) * seq (nat * seq nat)) :=
  let over := map (fun p => (p.1, exactly p.2 g)) in
  if (0 < head 0 g)%N && all (fun p => stripped (times g (exactly p.2 g)) == stripped p.2) (sides.1 ++ sides.2)
  then (over sides.1, over sides.2) else sides.

(** 1 + x^l + x^2l + … of m terms: the factor of the powers of a word of l letters. *)
Definition powers (l m : nat) : seq nat := flatten (nseq m.-1 (1%N :: nseq l.-1 0%N)) ++ [:: 1%N].

Definition content (sides : seq (nat * seq nat)) : nat := foldr (fun p g => foldr gcdn g p.2) 0%N sides.
Definition reduced (sides : seq (nat * seq nat) * seq (nat * seq nat)) :=
  let n := foldr (fun p m => maxn (size p.2) m) 0%N (sides.1 ++ sides.2) in
  let primitive := without [:: content (sides.1 ++ sides.2)] sides in
  foldr (fun m sides => if (m %| n)%N then without (powers (n %/ m) m) sides else sides) primitive (iota 2 n.-1).

Inductive key := Applied (f : Op) (numbers : seq nat) | Summed (numbers : seq nat) | Divided (b : option B) (above below : seq (nat * seq nat)).

Definition key_code (k : key) : Op * seq nat + (seq nat + option B * (seq (nat * seq nat) * seq (nat * seq nat))) :=
  match k with
  | Applied f ns => inl (f, ns) | Summed ns => inr (inl ns) | Divided b above below => inr (inr (b, (above, below)))
  end.
Definition key_decode c : key :=
  match c with
  | inl (f, ns) => Applied f ns | inr (inl ns) => Summed ns | inr (inr (b, (above, below))) => Divided b above below
  end.
Lemma key_codeK : cancel key_code key_decode. Proof. by case. Qed.
Definition key_eqMixin := CanEqMixin key_codeK.
Canonical key_eqType := EqType key key_eqMixin.

(** Where a key is searched for; keys that share a place are told apart there. *)
Definition mixed (h n : nat) : nat := ((h * 31 + n) %% (1021 * 1021))%N.
Definition key_place (k : key) : nat :=
  let sides := foldl (fun h p => foldl mixed (mixed h p.1) p.2) in
  match k with
  | Applied f ns => foldl mixed (mixed 1%N (code f)) ns
  | Summed ns => foldl mixed 2%N ns
  | Divided _ above below => sides (mixed (sides 3%N above) 0%N) below
  end.

(** [number s i]: of row i, of the [count_rows] that have one; [next]: the least that was not given; [table]: of keys. *)
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
  | Quotient b above below =>
      let numbered_ terms := sort (fun p q => p.1 <= q.1)%N [seq (number s p.1, p.2) | p <- terms] in
      let: (above, below) := reduced (gathered (numbered_ above), gathered (numbered_ below)) in
      let fixed := all (fun p => size p.2 <= 1)%N (above ++ below) in
      keyed s (Divided (if fixed then None else Some b) above below)
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

Variables (F : numDomainType) (V : lmodType F) (meaning : Op -> seq V -> V) (weight : W -> nat -> F) (rho : B -> F).
Hypothesis rho_gt0 : forall b, 0 < rho b.

(** Division does not see a positive factor that is common to both sides.  ([quotient_scaled_division]: that of numbers
    does not.) *)
Variable quotient : V -> V -> V.
Hypothesis quotient_scaled : forall (k : F) x y, 0 < k -> quotient (k *: x) (k *: y) = quotient x y.

(** The value of a polynomial, and of a sum of rows multiplied by values. *)
Fixpoint at_number (x : F) (p : seq nat) : F := if p is c :: p' then c%:R + x * at_number x p' else 0.
Definition counted (x : F) (row_of : nat -> V) (side : seq (nat * seq nat)) : V := \sum_(p <- side) at_number x p.2 *: row_of p.1.
Definition base (b : option B) : F := if b is Some b then rho b else 1.

Definition key_value (row_of : nat -> V) (k : key) : V :=
  match k with
  | Applied f ns => meaning f (map row_of ns)
  | Summed ns => \sum_(n <- ns) row_of n
  | Divided b above below => quotient (counted (base b) row_of above) (counted (base b) row_of below)
  end.

Definition known (k : key) (bound : nat) : bool :=
  match k with
  | Applied _ ns | Summed ns => all (fun n => n < bound)%N ns
  | Divided _ above below => all (fun p => p.1 < bound)%N (above ++ below)
  end.

(** [row_of n] is the row that all rows of number [n] are. *)
Definition right (values : seq V) (s : state) (row_of : nat -> V) : Prop :=
  [/\ count_rows s = size values,
      forall i, (i < size values)%N -> (number s i < next s)%N /\ nth 0 values i = row_of (number s i) &
      forall place p, p \in entered s place -> [/\ known p.1 (next s), (p.2 < next s)%N & key_value row_of p.1 = row_of p.2]].

Lemma same_below (row_of row_of' : nat -> V) k bound : known k bound -> (forall n, (n < bound)%N -> row_of' n = row_of n) ->
  key_value row_of' k = key_value row_of k.
Proof.
case: k => [f ns|ns|b above under] /= /allP below same; last 1 first.
- by congr (quotient _ _); apply: eq_big_seq => p inp; rewrite same // below // mem_cat inp ?orbT.
- by congr (meaning f _); apply/eq_in_map => n /below; exact: same.
by apply: eq_big_seq => n /below; exact: same.
Qed.

Lemma known_wider k bound : known k bound -> known k bound.+1.
Proof. by case: k => [f ns|ns|b above under] /= /allP lt; apply/allP => n /lt /ltnW. Qed.

(** *** Values of polynomials *)
Lemma at_number_plus x p q : at_number x (plus p q) = at_number x p + at_number x q.
Proof.
elim: p q => [|c p IH] [|d q] /=; rewrite ?add0r ?addr0 //.
by rewrite IH natrD mulrDr addrACA.
Qed.

Lemma at_number_multiple x c p : at_number x (multiple c p) = c%:R * at_number x p.
Proof. by elim: p => [|d p IH] /=; rewrite ?mulr0 // IH natrM mulrDr mulrCA. Qed.

Lemma at_number_times x p q : at_number x (times p q) = at_number x p * at_number x q.
Proof. by elim: p => [|c p IH] /=; rewrite ?mul0r // at_number_plus at_number_multiple /= add0r IH mulrDl mulrA. Qed.

Lemma at_number_stripped x p : at_number x (stripped p) = at_number x p.
Proof.
elim: p => [//|c p IH] /=; case: ifP => [/andP[/eqP-> /nilP E]|_]; last by rewrite /= IH.
by move: IH; rewrite E /= => <-; rewrite mulr0 addr0.
Qed.

Lemma at_number_power x e : at_number x (ncons e 0%N [:: 1%N]) = x ^+ e.
Proof. by elim: e => [|e IH] /=; [rewrite mulr0 addr0 | rewrite IH add0r exprS]. Qed.

Lemma at_number_ge0 x p : 0 < x -> 0 <= at_number x p.
Proof. by move=> x0; elim: p => [//|c p IH] /=; rewrite addr_ge0 ?ler0n // mulr_ge0 // ltW. Qed.

Lemma at_number_gt0 x p : 0 < x -> (0 < head 0 p)%N -> 0 < at_number x p.
Proof. by move=> x0; case: p => [//|c p] /= c0; rewrite ltr_paddr ?ltr0n // mulr_ge0 ?at_number_ge0 // ltW. Qed.

Lemma at_number_fixed x y p : (size p <= 1)%N -> at_number x p = at_number y p.
Proof. by case: p => [//|c [|//]] _ /=; rewrite !mulr0. Qed.

(** *** Sums by polynomials *)
Lemma gathered_sum x row_of terms : counted x row_of (gathered terms) = \sum_(p <- terms) x ^+ p.2 *: row_of p.1.
Proof.
rewrite /counted; elim: terms => [|[n e] terms /= IH]; first by rewrite !big_nil.
rewrite big_cons -IH /=; case: (gathered terms) => [|[m p] others]; first by rewrite !big_cons !big_nil /= at_number_power.
by case: eqP => [->|_]; rewrite !big_cons /= ?at_number_plus at_number_power // scalerDl addrA.
Qed.

Lemma mem_gathered p terms : p \in gathered terms -> p.1 \in map fst terms.
Proof.
elim: terms p => [//|[n e] terms /= IH] p; case: (gathered terms) IH => [|[m q] others] IH.
  by rewrite !inE => /eqP->; rewrite eqxx.
case: eqP => [->|_]; rewrite !inE.
  by case/orP => [/eqP->|inp]; rewrite /= ?eqxx // IH ?orbT // inE inp orbT.
by case/orP => [/eqP->|inp]; rewrite /= ?eqxx // IH ?orbT // inE.
Qed.

Definition value_of (x : F) (row_of : nat -> V) (sides : seq (nat * seq nat) * seq (nat * seq nat)) : V :=
  quotient (counted x row_of sides.1) (counted x row_of sides.2).

Lemma without_value x row_of g sides : 0 < x -> value_of x row_of (without g sides) = value_of x row_of sides.
Proof.
move=> x0; rewrite /without; case: ifP => // /andP[g0 /allP div].
have over side : (forall p, p \in side -> stripped (times g (exactly p.2 g)) == stripped p.2) ->
    counted x row_of side = at_number x g *: counted x row_of (map (fun p => (p.1, exactly p.2 g)) side).
  move=> all_p; rewrite /counted scaler_sumr big_map; apply: eq_big_seq => p /all_p /eqP E.
  by rewrite /= scalerA -at_number_times -(at_number_stripped x p.2) -E at_number_stripped.
rewrite /value_of (over sides.1) ?(over sides.2) ?quotient_scaled ?at_number_gt0 // => p inp; apply: div;
  by rewrite mem_cat inp ?orbT.
Qed.

Lemma reduced_value x row_of sides : 0 < x -> value_of x row_of (reduced sides) = value_of x row_of sides.
Proof.
move=> x0; rewrite /reduced; elim: (iota _ _) => [|m ms IH] /=; first exact: without_value.
by case: ifP => _; rewrite ?without_value.
Qed.

Definition numbers_below (bound : nat) (sides : seq (nat * seq nat) * seq (nat * seq nat)) : bool :=
  all (fun p => p.1 < bound)%N (sides.1 ++ sides.2).

Lemma without_below bound g sides : numbers_below bound sides -> numbers_below bound (without g sides).
Proof. by rewrite /numbers_below /without; case: ifP => // _; rewrite -map_cat all_map. Qed.

Lemma reduced_below bound sides : numbers_below bound sides -> numbers_below bound (reduced sides).
Proof.
move=> lt; rewrite /reduced; elim: (iota _ _) => [|m ms IH] /=; first exact: without_below.
by case: ifP => // _; exact: without_below.
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
  exists row_of', right (rcons values (row_value meaning weight rho quotient values r)) (number_row s r) row_of'.
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
case: r => [f args|w args|args|b above under] /= early one.
- by have [below eq_args] := arg args early; apply: right_keyed ok _ _; rewrite //= eq_args.
- have [below eq_args] := arg args early; case E: (map _ args) => [|n rest].
    have -> : args = [::] by case: args E {early one below eq_args}.
    exists (extended row_of (next s) (row_value meaning weight rho quotient values (Mixture w [::]))).
    by apply: (@right_fresh _ _ _ _ _ ok); left.
  case: ifP => [same | _]; last first.
    exists (extended row_of (next s) (row_value meaning weight rho quotient values (Mixture w args))).
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
  set named := fun terms => sort (fun p q : nat * nat => p.1 <= q.1)%N [seq (number s p.1, p.2) | p <- terms].
  have sum x terms : all (fun p => p.1 < size values)%N terms ->
      counted x row_of (gathered (named terms)) = \sum_(p <- terms) x ^+ p.2 *: nth 0 values p.1.
    move=> /allP lt; rewrite gathered_sum (perm_big _ (permEl (perm_sort _ _))) /= big_map.
    by apply: eq_big_seq => p /lt /rows [_ ->].
  have bound terms : all (fun p => p.1 < size values)%N terms -> all (fun p => p.1 < next s)%N (gathered (named terms)).
    move=> /allP lt; apply/allP => p /mem_gathered /mapP[q]; rewrite mem_sort => /mapP[r /lt /rows [lt_r _] ->] ->.
    by [].
  have known_sides : numbers_below (next s) (reduced (gathered (named above), gathered (named under))).
    by apply: reduced_below; rewrite /numbers_below all_cat !bound.
  have value_sides := reduced_value row_of (gathered (named above), gathered (named under)) (rho_gt0 b).
  case E: (reduced _) known_sides value_sides => [a c] known_sides value_sides.
  apply: right_keyed ok _ _ => //=.
  rewrite -!sum // -[RHS]value_sides /value_of /=; case: ifP => //= /allP fixed.
  by congr (quotient _ _); apply: eq_big_seq => p inp; rewrite (at_number_fixed 1 (rho b)) // fixed // mem_cat inp ?orbT.
Qed.

(** Whatever the operations compute and whatever the weights are, as long as those of every mixture sum to one: rows of
    equal numbers are equal. *)
Theorem equated (rows : seq row) :
  (forall i, (i < size rows)%N -> earlier i (nth (Total [::]) rows i) /\ sums_to_one weight (nth (Total [::]) rows i)) ->
  forall i j, (i < size rows)%N -> (j < size rows)%N -> nth 0%N (numbered rows) i = nth 0%N (numbered rows) j ->
  nth 0 (row_values meaning weight rho quotient rows) i = nth 0 (row_values meaning weight rho quotient rows) j.
Proof.
move=> hyps.
have size_v rs : size (row_values meaning weight rho quotient rs) = size rs.
  by rewrite /row_values; elim/last_ind: rs => // rs r IH; rewrite foldl_rcons !size_rcons IH.
suff [row_of [size_n all_rows _]] : exists row_of, right (row_values meaning weight rho quotient rows)
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

Variables (F : numFieldType) (meaning : Op -> seq F -> F) (weight : W -> nat -> F) (rho : B -> F).
Hypothesis rho_gt0 : forall b, 0 < rho b.

Lemma quotient_scaled_division (k x y : F) : 0 < k -> (k * x) / (k * y) = x / y.
Proof. by move=> k0; rewrite invfM mulrACA divff ?mul1r // gt_eqF. Qed.

Corollary equated_numbers (rows : seq row) :
  let values := row_values (V := [lmodType F of F^o]) meaning weight rho (fun x y => x / y) rows in
  (forall i, (i < size rows)%N -> earlier i (nth (Total [::]) rows i) /\ sums_to_one weight (nth (Total [::]) rows i)) ->
  forall i j, (i < size rows)%N -> (j < size rows)%N -> nth 0%N (numbered rows) i = nth 0%N (numbered rows) j ->
  nth 0 values i = nth 0 values j.
Proof. exact: (@equated F [lmodType F of F^o] meaning weight rho rho_gt0 _ quotient_scaled_division). Qed.

End Numbers.

End Numbering.
